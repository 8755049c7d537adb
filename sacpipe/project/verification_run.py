"""The committed graph in a temporary folder, where `sacpipe verify` runs it from the start.

The folder holds the files of git's HEAD and no others of the project: no caches, no checkpoints, no
uncommitted edits. The project's folder is only read.
"""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError, InterruptedRunError
from sacpipe.core.files import storage_errors
from sacpipe.project.dvc.commands import DvcStore, Outcome
from sacpipe.project.dvc.graph import graph_outputs
from sacpipe.project.dvc.lock_file import LockEntries, read_lock
from sacpipe.project.git import head_commit, inputs_at, place_commit, uncommitted
from sacpipe.project.initial_pool import is_tracked, manifest_sha256, named_pool, place_tracked
from sacpipe.project.processor_kind import ProcessorKind, recorded_kinds
from sacpipe.project.stage_key import DiskTree, dvc_md5, locked_inputs, locked_outs
from sacpipe.project.warm_start import WARM_START, named_weights, weights_digests
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.replay.pool.reader import ReplayPool

FOLDER_PREFIX = "sacpipe-verify-"
"""First characters of a temporary folder's name."""

_GRAPH = (
    *("dvc.yaml", "params.yaml", "versions.lock", "dvc.lock"),
    *(".dvcignore", "data/pool.dvc", "pipelines", "sacpipe"),
)
_STAGE_KEY = re.compile("[0-9a-f]{64}")
_GRACE_S = 2.0  # short: the files of a stopped stage are deleted


@dataclass(frozen=True)
class VerificationRun:
    """A commit's graph, placed in a temporary folder."""

    project: Workspace
    """The project that has the commit."""
    fresh: Workspace
    """The temporary folder, in which the stages run."""
    commit: str
    expected: LockEntries
    """Entries of the committed dvc.lock."""
    episodes: Path
    """The committed results/episodes.csv, out of the stages' sight; it may be missing."""
    kinds: Mapping[str, ProcessorKind]
    """Kinds of processors on which the commit's stages were computed, as far as the commit says so."""

    def run(self, stage: str, on_output: Callable[[str], None]) -> Outcome:
        """Run one stage; the stages before it must have run.

        Raises:
            StageError: the stage failed; carries its own message and exit code.
            InterruptedRunError: Ctrl-C.
        """
        store = DvcStore(self.fresh.root, grace_s=_GRACE_S).isolated()
        return store.reproduce(stage, on_output=on_output, force=True)

    def edited(self) -> tuple[str, ...]:
        """Return files with uncommitted changes: graph, params, versions, code, own files, dvc.lock."""
        own = {path for stage in STAGES for path in locked_inputs(self.expected[stage]).deps}
        return uncommitted(self.project.root, (*_GRAPH, *sorted(own)))

    def other_inputs(self) -> dict[str, list[str]]:
        """Return, by stage, the inputs in the commit that differ from those its dvc.lock names."""
        found = {}
        for stage in STAGES:
            known = locked_inputs(self.expected[stage])
            inputs = inputs_at(self.project.root, self.commit, stage, known)
            found[stage] = ["dvc.yaml"] if inputs is None else inputs.differences(known)
        return {stage: names for stage, names in found.items() if names}


@contextlib.contextmanager
def verification_run(
    project: Workspace, keep: Callable[[Path], None] | None = None
) -> Iterator[VerificationRun]:
    """Place the commit in a temporary folder, and remove the folder at the end, also after an error.

    Args:
        project: The project that has the commit.
        keep: Called with the folder at the end; where it is given, the folder is not removed.

    Raises:
        ConfigError: there is no commit; it lacks dvc.yaml, params.yaml or an entry of dvc.lock; or its
            results are not those of its dvc.lock.
        InterruptedRunError: Ctrl-C.
        StorageError: the temporary folder cannot be written.
    """
    commit = head_commit(project.root)
    if commit is None:
        raise ConfigError(
            f"{project.root} has no git commit to verify. Commit the project and its dvc.lock; "
            "`git log` prints the reason if git finds none."
        )
    with storage_errors(Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    try:
        yield _place(project, commit, folder)
    except (KeyboardInterrupt, InterruptedRunError) as exc:
        raise InterruptedRunError(
            "verification was interrupted. The same command starts it from the beginning."
        ) from exc
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            keep(folder)


def _place(project: Workspace, commit: str, folder: Path) -> VerificationRun:
    place_commit(project.root, commit, folder)
    fresh = Workspace(folder)
    for path in (fresh.dvc_yaml, fresh.params, fresh.dvc_lock):
        if not path.is_file():
            raise ConfigError(
                f"{path.name} is not in commit {commit[:12]}. Run `sacpipe run` and commit all of its result."
            )
    expected = read_lock(fresh.dvc_lock)
    for stage in STAGES:
        if not expected.get(stage):
            raise ConfigError(
                f"dvc.lock in commit {commit[:12]} lacks stage '{stage}'. Run `sacpipe run`, then commit "
                "dvc.lock."
            )
    _refuse_other_results(fresh, commit, expected)
    fresh.dvc_lock.unlink()  # no stage may read the expected digests
    kinds = recorded_kinds(fresh.kinds, expected)
    fresh.kinds.unlink(missing_ok=True)
    episodes = fresh.state / "committed" / fresh.episodes.name
    if fresh.episodes.is_file():
        with storage_errors(episodes):
            episodes.parent.mkdir(parents=True)
            fresh.episodes.rename(episodes)
    _copy_extended_run(project, fresh, commit)
    _copy_initial_pool(project, fresh, commit)
    _copy_warm_start(project, fresh, commit)
    return VerificationRun(project, fresh, commit, expected, episodes, kinds)


def _refuse_other_results(fresh: Workspace, commit: str, expected: LockEntries) -> None:
    """Refuse a commit whose tracked results are not those of its dvc.lock: people read the results."""
    tree, graph = DiskTree(fresh.root), graph_outputs(fresh.dvc_yaml)
    uncached = {path for outs in graph.values() for path, is_cached in outs.items() if not is_cached}
    for path, md5 in (item for stage in STAGES for item in locked_outs(expected[stage]).items()):
        found = dvc_md5(tree, path) if tree.holds(path) else "no such file"
        if path in uncached and found != md5:
            raise ConfigError(
                f"{path} in commit {commit[:12]}: expected md5 {md5}, as in its dvc.lock, found {found}. Run "
                "`sacpipe run`, and commit results/ and dvc.lock together."
            )


def _copy_extended_run(project: Workspace, fresh: Workspace, commit: str) -> None:
    """Copy the finished run that the commit's run continues, where params.yaml names one."""
    training = read_yaml(fresh.params).get("training")
    key = training.get("extends") if isinstance(training, Mapping) else None
    if key is None:
        return
    source = project.work(str(key))
    if not _STAGE_KEY.fullmatch(str(key)) or not source.is_dir():
        raise ConfigError(
            f"params.yaml in commit {commit[:12]} continues the run {key} (training.extends), and "
            f"{source} is not there. Copy that folder back; no commit and no cache holds it."
        )
    with storage_errors(fresh.work(key)):
        shutil.copytree(source, fresh.work(key), symlinks=True)


def _copy_initial_pool(project: Workspace, fresh: Workspace, commit: str) -> None:
    """Copy the initial pool that params.yaml names: the project's data/pool, or the one DVC tracks."""
    expected = named_pool(read_yaml(fresh.params))
    if expected is None:
        return
    if manifest_sha256(project.initial_pool) == expected:
        ReplayPool.open(project.initial_pool).publish(fresh.initial_pool)
    elif is_tracked(project.root, commit):
        place_tracked(project.root, commit, fresh.initial_pool)
    if manifest_sha256(fresh.initial_pool) != expected:
        raise ConfigError(
            f"params.yaml in commit {commit[:12]} names the pool {expected} (replay.initial_pool). Neither "
            f"{project.initial_pool} nor the pool that the commit's data/pool.dvc tracks has that digest. "
            "Restore that pool, or commit its data/pool.dvc."
        )


def _copy_warm_start(project: Workspace, fresh: Workspace, commit: str) -> None:
    """Copy the weights that params.yaml names: the project's data/warm_start, or those DVC tracks."""
    expected = named_weights(read_yaml(fresh.params))
    if not expected:
        return
    if set(expected) <= set(weights_digests(project.warm_start)):
        with storage_errors(fresh.warm_start):
            shutil.copytree(project.warm_start, fresh.warm_start)
    elif is_tracked(project.root, commit, WARM_START):
        place_tracked(project.root, commit, fresh.warm_start, WARM_START)
    missing = set(expected) - set(weights_digests(fresh.warm_start))
    if missing:
        raise ConfigError(
            f"params.yaml in commit {commit[:12]} names the weights {', '.join(sorted(missing))} "
            "(training.warm_start, or the algorithm). "
            f"Neither {project.warm_start} nor what the commit's data/warm_start.dvc tracks has that digest. "
            "Restore them, or commit data/warm_start.dvc."
        )
