"""The protocol of trackers: a record of each stage's run, and the registry beside it.

A tracker is a folder's files, MLflow, or a member of another package. Every call may be repeated: what is
recorded already stays as it is. DVC's outputs give every record again, so a tracker may be lost
(docs/ledger.md). `sacpipe.testing.trackers.check_tracker` tests a member.
"""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sacpipe.core.errors import ConfigError
from sacpipe.rollout.registries import Address, RegistryConfig
from sacpipe.rollout.sources import Source
from sacpipe.tracking.registry import Registry, RegistrySource

STAGE_KEY_TAG = "sacpipe.stage_key"
COMMIT_TAG = "sacpipe.commit"
RECORD_TAG = "sacpipe.record_sha256"
"""Tag of the digest of the stage's entry of dvc.lock."""
COMMAND_TAG = "sacpipe.command"
"""Tag of the stage's command, which MLflow shows under a name of its own."""

Row = Mapping[str, Any]
"""One line of metrics.jsonl."""


@dataclass(frozen=True)
class Run:
    """The record of one stage's run."""

    run_id: str
    stage_key: str
    stage: str
    status: str
    """`RUNNING`, `FINISHED`, `FAILED`."""
    params: dict[str, str]
    """Parameters as `Tracker.shown_params` gives them."""
    tags: dict[str, str]
    metrics: dict[str, float]
    """Last value of each metric of the summary; those of rows may be among them."""
    datasets: dict[str, str]
    """Digest of each pool by its path."""
    model_ids: tuple[str, ...]
    """Ids of the models that the run made."""


class Tracker(Protocol):
    """Records one run for each stage key.

    Every method raises StoreError where the store fails, and StoreUnavailableError where it does not answer.
    """

    @property
    def registry(self) -> Registry:
        """Registry of the versions and aliases."""
        ...

    def describe(self) -> str:
        """Return where it records, in a few words, for `sacpipe doctor`."""
        ...

    def check(self) -> None:
        """Check that it can record: `sacpipe run` asks before it trains.

        Raises:
            StorageError: a folder cannot be written.
        """
        ...

    def ensure_run(
        self, stage_key: str, stage: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> str:
        """Return the id of a stage key's run, which is created where there is none.

        Args:
            stage_key: Identity of the run; no other run has it.
            stage: Name of the stage.
            params: Values by dotted key. They are logged once.
            tags: Tags that are set or replaced by each call.
        """
        ...

    def find_run(self, stage_key: str) -> Run | None:
        """Return the run of a stage key, or None."""
        ...

    def discard_run(self, run_id: str) -> None:
        """Delete a run, e.g. because its metrics differ from those of the outputs."""
        ...

    def log_rows(self, run_id: str, rows: Sequence[Row]) -> int:
        """Log the rows of a metrics.jsonl that the run lacks; return their number.

        Args:
            run_id: The run.
            rows: All rows from the first on, in order; `env_steps` of each is its step.

        Raises:
            StoreError: the run holds other rows, see `rows_agree`.
        """
        ...

    def rows_agree(self, run_id: str, rows: Sequence[Row]) -> bool:
        """Return whether the rows that a run holds are the first of these rows."""
        ...

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log a summary: each metric once, at step 0."""
        ...

    def log_pool(self, run_id: str, path: str, digest: str, *, context: str) -> None:
        """Log a replay pool as an input of the run.

        Args:
            run_id: The run.
            path: Path of the pool, relative to the project's folder.
            digest: DVC's digest of the pool, or the SHA-256 of its manifest.
            context: `training` for the run's own pool, `initial` for earlier experience.
        """
        ...

    def log_record(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Store a stage's entry of dvc.lock with the run, so that its key can be computed again."""
        ...

    def record(self, run_id: str) -> dict[str, Any]:
        """Return the entry that `log_record` stored.

        Raises:
            StoreError: it is missing, or its digest is another than that of the stored one.
        """
        ...

    def log_model(self, run_id: str, bundle_folder: Path) -> str:
        """Log a bundle as a model of the run that exported it, once; return the model's id.

        Raises:
            BundleError: the bundle is damaged.
        """
        ...

    def finish_run(self, run_id: str, *, is_complete: bool = True) -> None:
        """Close a run as FINISHED, or as FAILED where it is not complete."""
        ...

    def shown_params(self, params: Mapping[str, Any]) -> dict[str, str]:
        """Return parameters as a run shows them. `param_text` is the text of each value."""
        return {name: param_text(value) for name, value in params.items()}


class TrackerConfig(RegistryConfig):
    """Base class of a tracker's section of sacpipe.yaml; `name` is the registered name or an import path."""

    @abstractmethod
    def open_tracker(self, state: Path | None, variables: Mapping[str, str]) -> Tracker:
        """Return the tracker; the first call on it opens what it needs.

        Args:
            state: Folder of a project's local files; None on a robot, where variables name the place.
            variables: Environment variables.

        Raises:
            ConfigError: the variables are wrong, or name no place.
        """

    def source(self, address: Address, state: Path | None, variables: Mapping[str, str]) -> Source:
        """Return a source that asks the tracker's own registry."""
        return RegistrySource(self.open_tracker(state, variables).registry, address)

    def put_unusable_aside(self, state: Path, variables: Mapping[str, str]) -> str | None:
        """Move what cannot be used and can be written again aside; return a line about it, or None.

        Raises:
            StoreUnavailableError: the store does not answer, or is locked: both may pass.
            StoreError: it cannot be used, and is not the project's own.
        """
        self.open_tracker(state, variables).check()
        return None

    def scoring_server(self, state: Path, uri: str, port: str) -> list[str]:
        """Return the command of the registry's own server of a version on a port, for `serve --mlflow`.

        Raises:
            ConfigError: the registry has none.
        """
        raise ConfigError(
            f"--mlflow: tracker '{self.name}' in {state} has no server of its own for {uri} on port {port}. "
            "`sacpipe serve` without the option serves it."
        )


def param_text(value: Any) -> str:
    """Return a parameter as trackers show it: a text unchanged, every other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
