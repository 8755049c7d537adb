"""The paths of a project, and the lock that admits one run at a time. No other module joins these paths.

A workspace is a folder that holds dvc.yaml. Outputs whose bytes DVC keeps are under out/; numbers and curves
that people compare are under results/, whose bytes git keeps; the files with which a stage continues are
under work/<stage key>/; and local files (ledger, orchestrator, report, promotion history, the default DVC
remote) are under .sacpipe/. docs/ledger.md lists the files.
"""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sacpipe.core.errors import BusyError, ConfigError
from sacpipe.core.files import storage_errors
from sacpipe.project.sqlite_address import sqlite_address

STAGES = ("train", "export", "evaluate")
"""Names of the DVC stages, in the order in which they run."""


@dataclass(frozen=True)
class Workspace:
    """Paths of one project folder; all absolute when made by `find`."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Self:
        """Return the workspace of a folder: the folder itself or its nearest parent that holds dvc.yaml.

        Raises:
            ConfigError: no parent holds dvc.yaml.
        """
        origin = (start or Path.cwd()).resolve()
        for folder in (origin, *origin.parents):
            if (folder / "dvc.yaml").is_file():
                return cls(folder)
        raise ConfigError(
            f"no dvc.yaml in {origin} or a folder above it. Go to the project's folder first, "
            "a clone of sacpipe."
        )

    @classmethod
    def enter(cls) -> Self:
        """Find the workspace of the current folder and give this process what its stages get.

        The project's folder becomes the current one and the first that modules are imported from, as DVC and
        `python -m` make it for a stage, so that a task's module and its relative paths are found by both.
        For commands only: a library call leaves its caller's folder as it is, see `with_tools`.

        Raises:
            ConfigError: no parent holds dvc.yaml.
        """
        workspace = cls.with_tools()
        os.chdir(workspace.root)
        root = str(workspace.root)
        sys.path[:] = [root, *(path for path in sys.path if path != root)]
        return workspace

    @classmethod
    def local_files(cls) -> Path | None:
        """Return the folder of local files of the current folder's workspace; None outside of every one."""
        try:
            return cls.find().state
        except (ConfigError, OSError):  # OSError: the current folder was deleted
            return None

    @classmethod
    def with_tools(cls) -> Self:
        """Find the workspace of the current folder and set this process's environment for its tools.

        Raises:
            ConfigError: no parent holds dvc.yaml.
        """
        workspace = cls.find()
        os.environ.update(workspace.environment())
        return workspace

    @property
    def params(self) -> Path:
        """params.yaml: every parameter of the pipeline."""
        return self.root / "params.yaml"

    @property
    def dvc_yaml(self) -> Path:
        """dvc.yaml: the graph of the stages."""
        return self.root / "dvc.yaml"

    @property
    def dvc_lock(self) -> Path:
        """dvc.lock: digests of the inputs and outputs of the last run of each stage."""
        return self.root / "dvc.lock"

    @property
    def flow(self) -> Path:
        """pipelines/flow.py: the steps of a run of this project."""
        return self.root / "pipelines" / "flow.py"

    @property
    def initial_pool(self) -> Path:
        """Replay pool of earlier experience, e.g. a robot's; `data/pool.dvc` beside it is DVC's pointer."""
        return self.root / "data" / "pool"

    @property
    def warm_start(self) -> Path:
        """Weights of an earlier run; `data/warm_start.dvc` beside it is DVC's pointer."""
        return self.root / "data" / "warm_start"

    @property
    def ingested(self) -> Path:
        """data/ingested.json: which recording became which transitions of the initial pool."""
        return self.root / "data" / "ingested.json"

    @property
    def results(self) -> Path:
        """Outputs that people compare: a few numbers a stage, curves, episodes. Git tracks them."""
        return self.root / "results"

    def stage_results(self, stage: str) -> Path:
        """Return the path of a stage's numbers for comparison: results/<stage>.json."""
        return self.results / f"{stage}.json"

    @property
    def kinds(self) -> Path:
        """results/kind.yaml: the kind of processor on which each stage was computed. No output of DVC."""
        return self.results / "kind.yaml"

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
        """Finished replay pool of the training run."""
        return self.train / "pool"

    @property
    def curve(self) -> Path:
        """Evaluations during training, one row an episode."""
        return self.results / "curve.csv"

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
        """Bundle: the exported policy for a robot."""
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
        return self.results / "episodes.csv"

    @property
    def evaluate_metrics(self) -> Path:
        """Returns with their intervals, by policy."""
        return self.evaluate / "metrics.json"

    @property
    def video(self) -> Path:
        """Folder with the video of one episode, or with the reason why there is none."""
        return self.evaluate / "video"

    def stage_metrics(self, stage: str) -> Path:
        """Return the path of a stage's summary: out/<stage>/metrics.json."""
        return self.root / "out" / stage / "metrics.json"

    def work(self, key: str) -> Path:
        """Return the resume folder of a stage key."""
        return self.root / "work" / key

    @property
    def state(self) -> Path:
        """Folder of local files; git and DVC ignore it."""
        return self.root / ".sacpipe"

    @property
    def lock_file(self) -> Path:
        """Lock file of the run in progress; its text is the process id."""
        return self.state / "lock"

    @property
    def prefect_home(self) -> Path:
        """Folder of the embedded Prefect server."""
        return self.state / "prefect"

    @property
    def prefect_db(self) -> Path:
        """Database of the embedded Prefect server."""
        return self.prefect_home / "prefect.db"

    @property
    def report(self) -> Path:
        """HTML page of the last report."""
        return self.state / "report.html"

    @property
    def promotions(self) -> Path:
        """Every promotion and rollback, append-only, one JSON object a line."""
        return self.state / "promotions.jsonl"

    @property
    def robot_store(self) -> Path:
        """Bundle store of `sacpipe serve --follow`."""
        return self.state / "robot"

    @property
    def settings(self) -> Path:
        """sacpipe.yaml: the project's choice of a tracker. It may be missing."""
        return self.root / "sacpipe.yaml"

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return variables that keep every tool embedded, offline, quiet and free of telemetry.

        Variables that are set already are left out, so that `os.environ.update(workspace.environment())`
        never overrides the operator's choice.

        Args:
            variables: The environment that is set already; this process's own by default.
        """
        present = os.environ if variables is None else variables
        defaults = dict(_QUIET)
        if not present.get("PREFECT_API_URL"):  # another server has its own home and database
            defaults["PREFECT_HOME"] = str(self.prefect_home)
            if not any(name.startswith(_PREFECT_OWN) and text for name, text in present.items()):
                # Prefect's default is this file too, but Prefect does not quote the address.
                address = sqlite_address(self.prefect_db, "aiosqlite")
                defaults["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = address
        return {name: value for name, value in defaults.items() if not present.get(name)}


_QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "DVC_STUDIO_OFFLINE": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "ORT_DISABLE_TELEMETRY": "1",
    # Prefect's console handler repeats each step and prints tracebacks; its API and UI still get them.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Making a home takes 18 s on two cores, so Prefect's own limit of 20 s fails on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
}

_PREFECT_OWN = ("PREFECT_HOME", "PREFECT_SERVER_DATABASE_", "PREFECT_API_DATABASE_")
"""First characters of the variables with which an operator chooses Prefect's database."""


@contextlib.contextmanager
def run_lock(workspace: Workspace) -> Iterator[None]:
    """Lock the workspace for one run. The operating system releases the lock when the process ends.

    Raises:
        BusyError: another process holds the lock; names that process.
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
                f"another run (process {holder}) is in progress in {workspace.root}. "
                "Wait until it ends, stop it, or use another copy of this folder."
            ) from exc
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
