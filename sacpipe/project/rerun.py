"""The committed graph in a temporary folder of its own, to be run again from nothing.

Floor 5. The files of git's HEAD are placed there, and nothing else of the project: no caches, no
checkpoints, no uncommitted edits. The project's folder is only read.
"""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError, InterruptedRunError
from sacpipe.core.files import storage_errors
from sacpipe.project.dvc.commands import DvcStore, Outcome, read_lock
from sacpipe.project.git import head_commit, inputs_at, place_commit, uncommitted
from sacpipe.project.initial_pool import is_tracked, manifest_sha256, named_pool, place_tracked
from sacpipe.project.stage_key import locked_inputs
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.replay.pool.reader import ReplayPool

PREFIX = "sacpipe-verify-"
"""How the names of temporary folders begin."""

Locked = Mapping[str, Mapping[str, Any]]
"""Entries of a dvc.lock by stage."""

_GRAPH = ("dvc.yaml", "params.yaml", "dvc.lock", ".dvcignore", "data/pool.dvc", "pipelines", "sacpipe")
_STAGE_KEY = re.compile("[0-9a-f]{64}")
_GRACE_S = 2.0  # nothing of a stopped stage is kept


@dataclass(frozen=True)
class Rerun:
    """A commit's graph, placed."""

    project: Workspace
    """Where the commit comes from."""
    fresh: Workspace
    """Where it is run."""
    commit: str
    expected: Locked
    """The committed dvc.lock."""

    def run(self, stage: str, on_output: Callable[[str], None]) -> Outcome:
        """Run one stage, which must follow those before it.

        Raises:
            StageError: the stage failed; carries its own message and exit code.
            InterruptedRunError: Ctrl-C.
        """
        store = DvcStore(self.fresh.root, grace_s=_GRACE_S).isolated()
        return store.reproduce(stage, on_output=on_output, afresh=True)

    def edited(self) -> tuple[str, ...]:
        """Name what of the project's graph, values, code and result is not in the commit."""
        return uncommitted(self.project.root, _GRAPH)

    def other_inputs(self) -> dict[str, list[str]]:
        """Name, by stage, what the commit holds otherwise than its dvc.lock says the outputs were made of."""
        found = {}
        for stage in STAGES:
            known = locked_inputs(self.expected[stage])
            inputs = inputs_at(self.project.root, self.commit, stage, known)
            found[stage] = ["dvc.yaml"] if inputs is None else inputs.differences(known)
        return {stage: names for stage, names in found.items() if names}


@contextlib.contextmanager
def rerun(project: Workspace, keep: Callable[[Path], None] | None = None) -> Iterator[Rerun]:
    """Place the commit in a temporary folder, which is removed at the end, however that comes.

    Args:
        project: Whose commit.
        keep: Where given, the folder stays, and this hears of it at the end.

    Raises:
        ConfigError: there is no commit, or it lacks a part of the graph or of its result.
        InterruptedRunError: Ctrl-C.
        StorageError: the temporary folder cannot be written.
    """
    commit = head_commit(project.root)
    if commit is None:
        raise ConfigError(
            f"{project.root} has no git commit to verify. Commit the project and its dvc.lock; "
            "`git log` says why git finds none."
        )
    with storage_errors(Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        yield _place(project, commit, folder)
    except (KeyboardInterrupt, InterruptedRunError) as exc:
        raise InterruptedRunError("verification was interrupted; it starts anew next time.") from exc
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            keep(folder)


def _place(project: Workspace, commit: str, folder: Path) -> Rerun:
    place_commit(project.root, commit, folder)
    fresh = Workspace(folder)
    for path in (fresh.dvc_yaml, fresh.params, fresh.dvc_lock):
        if not path.is_file():
            raise ConfigError(
                f"{path.name} is not in commit {commit[:12]}. `sacpipe run` makes a result; commit it whole."
            )
    expected = read_lock(fresh.dvc_lock)
    for stage in STAGES:
        if not expected.get(stage):
            raise ConfigError(
                f"dvc.lock in commit {commit[:12]} lacks stage '{stage}'. `sacpipe run` makes it; commit "
                "dvc.lock then."
            )
    fresh.dvc_lock.unlink()  # the expected answer is out of the runs' sight
    _bring_extended_run(project, fresh, commit)
    _bring_initial_pool(project, fresh, commit)
    return Rerun(project, fresh, commit, expected)


def _bring_extended_run(project: Workspace, fresh: Workspace, commit: str) -> None:
    """Copy the finished run that the commit's run continues from, where it names one."""
    training = read_yaml(fresh.params).get("training")
    key = training.get("extends") if isinstance(training, Mapping) else None
    if key is None:
        return
    source = project.work(str(key))
    if not _STAGE_KEY.fullmatch(str(key)) or not source.is_dir():
        raise ConfigError(
            f"params.yaml in commit {commit[:12]} continues the run {key} (training.extends), and "
            f"{source} is not there. Bring that folder back; it is in no commit and no cache."
        )
    with storage_errors(fresh.work(key)):
        shutil.copytree(source, fresh.work(key), symlinks=True)


def _bring_initial_pool(project: Workspace, fresh: Workspace, commit: str) -> None:
    """Place the pool that the commit's run begins with, where it names one: the project's own, or DVC's."""
    named = named_pool(read_yaml(fresh.params))
    if named is None:
        return
    if manifest_sha256(project.initial_pool) == named:
        ReplayPool.open(project.initial_pool).publish(fresh.initial_pool)
    elif is_tracked(project.root, commit):
        place_tracked(project.root, commit, fresh.initial_pool)
    if manifest_sha256(fresh.initial_pool) != named:
        raise ConfigError(
            f"params.yaml in commit {commit[:12]} names the pool {named} (replay.initial_pool), which is "
            f"neither in {project.initial_pool} nor what the commit's data/pool.dvc tracks. Bring that pool "
            "back, or commit its data/pool.dvc."
        )
