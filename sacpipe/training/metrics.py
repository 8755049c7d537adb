"""The names, units and meanings of every metric, and the lines they are written to.

Values here are functions of params and code alone; wall-clock time goes to a file of its own, which
is never a DVC output.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from sacpipe.core.files import storage_errors


class Metric(NamedTuple):
    """One metric's row in docs/metrics.md."""

    unit: str
    meaning: str


METRICS: dict[str, Metric] = {
    "env_steps": Metric("steps", "Environment steps taken so far."),
    "gradient_steps": Metric("updates", "Updates made so far."),
    "episode/return": Metric("reward", "Undiscounted return of the training episode that just ended."),
    "episode/length": Metric("steps", "Length of that episode."),
    "critic/loss": Metric("reward²", "Sum over critics of half the mean squared TD error."),
    "critic/{i}/loss": Metric("reward²", "Each critic's part of it."),
    "critic/q_mean": Metric("reward", "Mean value the critics give to the batch, over critics too."),
    "critic/{i}/q_mean": Metric("reward", "Mean value of each critic."),
    "critic/target_mean": Metric("reward", "Mean regression target of the critics."),
    "critic/td_error_std": Metric("reward", "Standard deviation of value minus target over the batch."),
    "critic/gradient_norm": Metric("reward²", "Euclidean norm of the critics' gradient, all parameters."),
    "actor/loss": Metric("reward", "Mean of temperature x log-density minus value."),
    "actor/entropy_nats": Metric("nats", "Estimate of the policy's entropy: mean of minus log-density."),
    "actor/log_std_min": Metric(
        "nats", "Lowest log standard deviation before the squash, over batch and actions."
    ),
    "actor/log_std_mean": Metric("nats", "Their mean."),
    "actor/log_std_max": Metric("nats", "The highest."),
    "actor/saturation": Metric(
        "share", "Share of sampled actions beyond 0.99 of their range, where tanh is flat."
    ),
    "actor/gradient_norm": Metric("reward", "Euclidean norm of the actor's gradient, all parameters."),
    "temperature/value": Metric("reward/nat", "Weight of the entropy term."),
    "temperature/entropy_gap_nats": Metric(
        "nats", "Target entropy minus entropy: where it is above zero, the temperature rises."
    ),
    "evaluation/deterministic/return_mean": Metric("reward", "Mean return of the squashed mean action."),
    "evaluation/deterministic/return_min": Metric("reward", "Lowest of those returns."),
    "evaluation/deterministic/return_max": Metric("reward", "Highest of those returns."),
    "evaluation/deterministic/length_mean": Metric("steps", "Mean length of those episodes."),
    "evaluation/deterministic/value_bias": Metric(
        "reward",
        "Lower critic's value of the first step minus the discounted return that followed; mean.",
    ),
    "evaluation/stochastic/return_mean": Metric(
        "reward", "Mean return of sampled actions, same start states."
    ),
    "evaluation/stochastic/return_min": Metric("reward", "Lowest of those returns."),
    "evaluation/stochastic/return_max": Metric("reward", "Highest of those returns."),
    "evaluation/stochastic/length_mean": Metric("steps", "Mean length of those episodes."),
}


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


class Averages:
    """Means of the described updates over a logging interval."""

    def __init__(self, sums: dict[str, float] | None = None, count: int = 0) -> None:
        self.sums = dict(sums or {})
        self.count = count

    def add(self, metrics: dict[str, float]) -> None:
        """Add the metrics of one update."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def take(self) -> dict[str, float]:
        """Return the means by sorted name (a checkpoint keeps no order), and start over."""
        means = {name: self.sums[name] / self.count for name in sorted(self.sums)}
        self.sums, self.count = {}, 0
        return means
