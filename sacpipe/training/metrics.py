"""The names, units and meanings of every metric, and the lines they are written to.

Values here are functions of params and code alone; wall-clock time goes to a file of its own, which
is never a DVC output.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from sacpipe.core.files import storage_errors
from sacpipe.specs.metric import Metric
from sacpipe.specs.records import Step

_EVALUATION = {
    "return_mean": Metric("reward", "Mean return of {}."),
    "return_min": Metric("reward", "Lowest return of {}."),
    "return_max": Metric("reward", "Highest return of {}."),
    "length_mean": Metric("steps", "Mean length of these episodes."),
    "metrics/{name}/mean": Metric(
        "own", "Mean over these episodes of the mean of an entry of `task.metrics`."
    ),
    "metrics/{name}/last": Metric("own", "Mean of that entry in the last step of these episodes."),
}
_MODES = {
    "deterministic": "the deterministic action",
    "stochastic": "actions with noise, from the same start states",
}

METRICS: dict[str, Metric] = {
    "env_steps": Metric("steps", "Environment steps taken so far."),
    "gradient_steps": Metric("updates", "Updates made so far."),
    "policy_lag": Metric(
        "updates",
        "Mean number of updates from the choice of an action to the end of its step; in runs with several "
        "environments or with `policy_lag_rounds: 1`.",
    ),
    "episode/return": Metric("reward", "Undiscounted return of the training episode that just ended."),
    "episode/length": Metric("steps", "Length of the training episode that just ended."),
    "episode/metrics/{name}/mean": Metric(
        "own", "Mean over the episode's steps of an entry of `info` that `task.metrics` names."
    ),
    "episode/metrics/{name}/last": Metric("own", "Value of that entry in the episode's last step."),
} | {
    f"evaluation/{mode}/{name}": metric._replace(meaning=metric.meaning.replace("{}", action))
    for mode, action in _MODES.items()
    for name, metric in _EVALUATION.items()
}
"""Metrics of every training. A learner adds its own: see `Learner.metrics`."""

POLICY_LAG = "policy_lag"

LEARNER_METRICS = "learner_metrics.json"
"""File of a run's work folder with unit and meaning of each metric of its learner, by name."""


class TornFileError(Exception):
    """A file lacks lines that its checkpoint counts on."""


class LineFile:
    """An append-only text file that can be cut back to any position it was synced at."""

    def __init__(self, path: Path, position_bytes: int) -> None:
        """Open for appending after the first `position_bytes`, dropping the rest.

        Raises:
            TornFileError: the file is shorter than that.
            StorageError: it cannot be written.
        """
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            found = self._file.seek(0, os.SEEK_END)
            if found < position_bytes:
                self._file.close()
                raise TornFileError(f"{path}: expected {position_bytes} bytes or more, found {found}")
            self._file.truncate(position_bytes)
            self._file.seek(position_bytes)  # else a sync before the next line returns the old end
        self.path = path

    def write(self, line: str) -> None:
        """Append one line; it is flushed at once, so that other processes can follow the file."""
        with storage_errors(self.path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()

    def write_row(self, row: dict[str, int | float]) -> None:
        """Append one JSON object, keys in the order given."""
        self.write(json.dumps(row, allow_nan=False))

    def sync(self) -> int:
        """Make everything durable and return the position in bytes."""
        with storage_errors(self.path):
            os.fsync(self._file.fileno())
            return self._file.tell()

    def close(self) -> None:
        """Close the file. Lines written after the last `sync` may be lost if the disk is full."""
        with contextlib.suppress(OSError):
            self._file.close()


class EpisodeTotals:
    """Return, length and the task's metrics of the running training episode."""

    def __init__(self) -> None:
        self.length = 0
        self._return = 0.0
        self._sums: dict[str, float] = {}
        self._last: Mapping[str, float] = {}

    def add(self, step: Step) -> None:
        """Count one step."""
        self.length += 1
        self._return += step.reward
        for name, value in step.metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._last = step.metrics

    def row(self) -> dict[str, int | float]:
        """Return the metrics of the episode, which has ended."""
        row: dict[str, int | float] = {"episode/return": self._return, "episode/length": self.length}
        for name, total in self._sums.items():
            row[f"episode/metrics/{name}/mean"] = total / self.length
            row[f"episode/metrics/{name}/last"] = self._last[name]
        return row


class Averages:
    """Means of the described updates over a logging interval."""

    def __init__(
        self, sums: Mapping[str, float] | None = None, counts: Mapping[str, int] | None = None
    ) -> None:
        self.sums = dict(sums or {})
        self.counts = dict(counts or {})
        """Number of descriptions with each name: an update may leave a name out."""

    def add(self, metrics: dict[str, float]) -> None:
        """Add the metrics of one update."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means by sorted name (a checkpoint keeps no order), and start over."""
        means = {name: self.sums[name] / self.counts[name] for name in sorted(self.sums)}
        self.sums, self.counts = {}, {}
        return means
