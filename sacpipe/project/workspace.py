"""Where everything lies: the only module that joins paths, and the lock that keeps two runs apart.

Floor 5. A workspace is a folder that holds dvc.yaml. What DVC tracks lies under out/, what a stage
needs to continue lies under work/<stage key>/, and what this folder keeps for itself (ledger,
orchestrator, report, history of promotions, the default DVC remote) lies under .sacpipe/.
docs/ledger.md lists the files.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sacpipe.core.errors import BusyError, ConfigError
from sacpipe.core.files import storage_errors

STAGES = ("train", "export", "evaluate")
"""Names of the DVC stages, in the order they run."""


@dataclass(frozen=True)
class Workspace:
    """Paths of one project folder; all absolute when made by `find`."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Self:
        """Return the workspace around a folder: the nearest parent that holds dvc.yaml.

        Raises:
            ConfigError: no parent holds dvc.yaml.
        """
        origin = (start or Path.cwd()).resolve()
        for folder in (origin, *origin.parents):
            if (folder / "dvc.yaml").is_file():
                return cls(folder)
        raise ConfigError(f"no dvc.yaml in {origin} or a folder above it. Go to the project's folder first.")

    @classmethod
    def enter(cls) -> Self:
        """Find the workspace around the current folder and set this process's environment for its tools.

        Raises:
            ConfigError: no parent holds dvc.yaml.
        """
        workspace = cls.find()
        os.environ.update(workspace.environment())
        return workspace

    @property
    def params(self) -> Path:
        """Every value of the pipeline."""
        return self.root / "params.yaml"

    @property
    def dvc_yaml(self) -> Path:
        """The graph."""
        return self.root / "dvc.yaml"

    @property
    def dvc_lock(self) -> Path:
        """What the graph gave last: digests of inputs and outputs."""
        return self.root / "dvc.lock"

    @property
    def flow(self) -> Path:
        """The steps of a run, as this project has them."""
        return self.root / "pipelines" / "flow.py"

    @property
    def initial_pool(self) -> Path:
        """Replay pool of earlier experience, e.g. a robot's; `data/pool.dvc` beside it is DVC's pointer."""
        return self.root / "data" / "pool"

    @property
    def ingested(self) -> Path:
        """Which recordings became which transitions of it."""
        return self.root / "data" / "ingested.json"

    @property
    def train(self) -> Path:
        """Outputs of the stage train."""
        return self.root / "out" / "train"

    @property
    def policy(self) -> Path:
        """Weights of the trained policy."""
        return self.train / "policy.safetensors"

    @property
    def pool(self) -> Path:
        """Replay pool of the training run, sealed."""
        return self.train / "pool"

    @property
    def curve(self) -> Path:
        """Evaluations during training, one row an episode."""
        return self.train / "curve.csv"

    @property
    def train_metrics(self) -> Path:
        """Summary of training."""
        return self.train / "metrics.json"

    @property
    def train_rows(self) -> Path:
        """Deterministic metrics of training, one JSON object a line."""
        return self.train / "metrics.jsonl"

    @property
    def export(self) -> Path:
        """Outputs of the stage export."""
        return self.root / "out" / "export"

    @property
    def bundle(self) -> Path:
        """What a robot gets."""
        return self.export / "bundle"

    @property
    def export_metrics(self) -> Path:
        """Parity of the bundle with the trained policy."""
        return self.export / "metrics.json"

    @property
    def evaluate(self) -> Path:
        """Outputs of the stage evaluate."""
        return self.root / "out" / "evaluate"

    @property
    def episodes(self) -> Path:
        """Every evaluation episode."""
        return self.evaluate / "episodes.csv"

    @property
    def evaluate_metrics(self) -> Path:
        """Returns with their intervals, by policy."""
        return self.evaluate / "metrics.json"

    @property
    def video(self) -> Path:
        """One filmed episode, or the reason why there is none."""
        return self.evaluate / "video"

    def stage_metrics(self, stage: str) -> Path:
        """Return a stage's summary: out/<stage>/metrics.json."""
        return self.root / "out" / stage / "metrics.json"

    def work(self, key: str) -> Path:
        """Return the resume folder of a stage key."""
        return self.root / "work" / key

    @property
    def state(self) -> Path:
        """What this folder keeps for itself; ignored by git and DVC."""
        return self.root / ".sacpipe"

    @property
    def lock_file(self) -> Path:
        """Held by the run in progress; its text is that process's number."""
        return self.state / "lock"

    @property
    def mlflow_db(self) -> Path:
        """The embedded ledger."""
        return self.state / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Artifacts of the embedded ledger."""
        return self.state / "mlartifacts"

    @property
    def prefect_home(self) -> Path:
        """The embedded orchestrator."""
        return self.state / "prefect"

    @property
    def report(self) -> Path:
        """The last report."""
        return self.state / "report.html"

    @property
    def promotions(self) -> Path:
        """Every promotion and rollback, append-only, one JSON object a line."""
        return self.state / "promotions.jsonl"

    @property
    def robot_store(self) -> Path:
        """The bundles that `sacpipe serve --follow` keeps."""
        return self.state / "robot"

    def tracking_uri(self, variables: Mapping[str, str] | None = None) -> str:
        """Return the ledger's address: MLFLOW_TRACKING_URI, else the embedded database."""
        chosen = (os.environ if variables is None else variables).get("MLFLOW_TRACKING_URI")
        return chosen or f"sqlite:///{self.mlflow_db}"

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return variables that keep every tool embedded, offline, quiet and free of telemetry.

        What the caller's environment already sets is left out, so that
        `os.environ.update(workspace.environment())` never overrides a choice.

        Args:
            variables: The environment to respect; the process's own by default.
        """
        given = os.environ if variables is None else variables
        defaults = _QUIET | {
            "MLFLOW_TRACKING_URI": self.tracking_uri(given),
            "PREFECT_HOME": str(self.prefect_home),
        }
        if given.get("PREFECT_API_URL"):  # a server elsewhere: its own home and database stand
            defaults.pop("PREFECT_HOME")
        return {name: value for name, value in defaults.items() if not given.get(name)}


_QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "DVC_STUDIO_OFFLINE": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    # Prefect's console would repeat each step and print tracebacks; its API and UI still get them.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A fresh home takes 18 s on two cores; the tool's own limit of 20 s fails on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
}


@contextlib.contextmanager
def run_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace for one run; the operating system lets go when the process ends, however it ends.

    Raises:
        BusyError: another process holds it; names that process.
        StorageError: the folder cannot be written.
    """
    with storage_errors(workspace.lock_file):
        workspace.state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(workspace.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
            raise BusyError(
                f"another run (process {holder}) is at work in {workspace.root}. "
                "Wait until it ends, stop it, or use another copy of this folder."
            ) from exc
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
