"""The paths of a project, and the lock that admits one run at a time. No other module joins these paths.

A workspace is a folder that holds dvc.yaml. Outputs whose bytes DVC keeps are under out/; numbers and curves
that people compare are under results/, whose bytes git keeps; the files with which a stage continues are
under work/<stage key>/; and local files (ledger, orchestrator, report, the default DVC remote) are under
.sacpipe/. docs/ledger.md lists the files.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sacpipe.core.errors import BusyError, ConfigError, ReleaseBusyError
from sacpipe.core.files import storage_errors
from sacpipe.core.locks import hold

STAGES = ("train", "export", "evaluate")
"""Names of the DVC stages, in the order in which they run."""


class Place:
    """A path of every workspace, e.g. `workspace.params`; on the class, relative to the project's folder."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, workspace: "Workspace | None", _owner: type) -> Path:
        return Path(self._path) if workspace is None else workspace.root / self._path


@dataclass(frozen=True)
class Workspace:
    """Paths of one project folder; all absolute when made by `find`."""

    root: Path

    params = Place("params.yaml")
    """params.yaml: every parameter of the pipeline."""
    dvc_yaml = Place("dvc.yaml")
    """dvc.yaml: the graph of the stages."""
    dvc_lock = Place("dvc.lock")
    """dvc.lock: digests of the inputs and outputs of the last run of each stage."""
    flow = Place("pipelines/flow.py")
    """pipelines/flow.py: the steps of a run of this project."""
    initial_pool = Place("data/pool")
    """Replay pool of earlier experience, e.g. a robot's; `data/pool.dvc` beside it is DVC's pointer."""
    warm_start = Place("data/warm_start")
    """Weights of an earlier run; `data/warm_start.dvc` beside it is DVC's pointer."""
    ingested = Place("data/ingested.json")
    """data/ingested.json: which recording became which transitions of the initial pool."""
    results = Place("results")
    """Outputs that people compare: a few numbers a stage, curves, episodes. Git tracks them."""
    kinds = Place("results/kind.yaml")
    """results/kind.yaml: the kind of processor on which each stage was computed. No output of DVC."""
    train = Place("out/train")
    """Outputs of the stage train."""
    policy = Place("out/train/policy.safetensors")
    """Weights of the trained policy."""
    pool = Place("out/train/pool")
    """Finished replay pool of the training run."""
    curve = Place("results/curve.csv")
    """Evaluations during training, one row an episode."""
    train_metrics = Place("out/train/metrics.json")
    """Summary of training."""
    train_rows = Place("out/train/metrics.jsonl")
    """Deterministic metrics of training, one JSON object a line."""
    export = Place("out/export")
    """Outputs of the stage export."""
    bundle = Place("out/export/bundle")
    """Bundle: the exported policy for a robot."""
    export_metrics = Place("out/export/metrics.json")
    """Parity of the bundle with the trained policy."""
    evaluate = Place("out/evaluate")
    """Outputs of the stage evaluate."""
    episodes = Place("results/episodes.csv")
    """Every evaluation episode."""
    evaluate_metrics = Place("out/evaluate/metrics.json")
    """Returns with their intervals, by policy."""
    video = Place("out/evaluate/video")
    """Folder with the video of one episode, or with the reason why there is none."""
    state = Place(".sacpipe")
    """Folder of local files; git and DVC ignore it."""
    lock_file = Place(".sacpipe/lock")
    """Lock file of the run in progress; its text is the process id."""
    report = Place(".sacpipe/report.html")
    """HTML page of the last report."""
    release_lock_file = Place(".sacpipe/release.lock")
    """Lock file of the release command in progress; its text is the process id."""
    robot_store = Place(".sacpipe/robot")
    """Bundle store of `sacpipe serve --follow`."""
    settings = Place("sacpipe.yaml")
    """sacpipe.yaml: the project's choice of a tracker, and its sections of the report. It may be missing."""

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

    def stage_results(self, stage: str) -> Path:
        """Return the path of a stage's numbers for comparison: results/<stage>.json."""
        return self.results / f"{stage}.json"

    def stage_metrics(self, stage: str) -> Path:
        """Return the path of a stage's summary: out/<stage>/metrics.json."""
        return self.root / "out" / stage / "metrics.json"

    def work(self, key: str) -> Path:
        """Return the resume folder of a stage key."""
        return self.root / "work" / key

    def environment(self) -> dict[str, str]:
        """Return variables that keep every tool embedded, offline, quiet and free of telemetry.

        Variables that are set already are left out, so that `os.environ.update(workspace.environment())`
        never overrides the operator's choice.
        """
        return {name: value for name, value in _QUIET.items() if not os.environ.get(name)}


_QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "DVC_STUDIO_OFFLINE": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "ORT_DISABLE_TELEMETRY": "1",
}


def run_lock(workspace: Workspace) -> contextlib.AbstractContextManager[None]:
    """Lock the workspace for one run. The operating system releases the lock when the process ends.

    Raises:
        BusyError: another process holds the lock; names that process.
        StorageError: the folder cannot be written.
    """
    return _locked(workspace, workspace.lock_file, "run", BusyError)


def release_lock(workspace: Workspace, *, waits: bool = False) -> contextlib.AbstractContextManager[None]:
    """Lock the release records of a workspace: a rollback need not wait for the end of a training.

    Args:
        workspace: The project.
        waits: Wait for another release command, as a run does at its end.

    Raises:
        ReleaseBusyError: another release command, or a step of a run that releases, is in progress.
        StorageError: the folder cannot be written.
    """
    return _locked(workspace, workspace.release_lock_file, "release command", ReleaseBusyError, waits=waits)


@contextlib.contextmanager
def _locked(
    workspace: Workspace, path: Path, what: str, error: type[BusyError], *, waits: bool = False
) -> Iterator[None]:
    with storage_errors(path):
        workspace.state.mkdir(parents=True, exist_ok=True)
    try:
        lock = hold(path, None if waits else "busy")
    except BusyError as exc:
        holder = path.read_text(encoding="utf-8", errors="replace").strip() or "unknown"
        raise error(
            f"another {what} (process {holder}) is in progress in {workspace.root}. "
            "Wait until it ends, stop it, or use another copy of this folder."
        ) from exc
    with lock:
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
