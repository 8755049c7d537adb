"""Ingest a robot's recordings into `data/pool`, with which the next training can begin.

Every recording is checked before the pool changes: its digests, its task against that of params.yaml, and
its policies against those known here. `data/ingested.json`, under git, holds which recording became which
transitions. docs/recording.md describes the command.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError, ConfigError, PoolError, PoolFormatError
from sacpipe.core.files import read_json, sha256_file, write_json
from sacpipe.envs import TaskConfig
from sacpipe.envs.base import Environment
from sacpipe.project.dvc.commands import DvcStore
from sacpipe.project.workspace import Workspace
from sacpipe.replay.pool.append import append_segments, end_of
from sacpipe.replay.pool.manifest import MANIFEST_NAME
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.robot.recording.format import RecordedPolicy, Recording
from sacpipe.specs.env_spec import EnvSpec

_Rewards = Literal["robot", "task"]


class _TaskParams(Config):
    """The section of params.yaml with which recordings are compared."""

    task: TaskConfig


class Ingested(Config):
    """One ingested recording."""

    recording_sha256: str
    """SHA-256 of its recording.json."""
    policies: tuple[RecordedPolicy, ...]
    rewards: _Rewards
    """Origin of the rewards: given by the robot, or computed again by the task."""
    first_step: int = Field(ge=0)
    """Step of its first transition in the pool. Evicted transitions count, so the number stays valid."""
    transitions: int = Field(ge=1)


class _History(Config):
    """The whole of data/ingested.json."""

    format_version: Literal[1]
    recordings: tuple[Ingested, ...]


class Ingestion(Config):
    """Result of one ingestion."""

    pool_sha256: str
    """SHA-256 of the pool's manifest, for `replay.initial_pool.sha256`."""
    pool_transitions: int
    recordings: tuple[Ingested, ...]
    """Recordings added by this call."""
    passed_over: int
    """Number of skipped recordings: ingested before, or named twice."""


class _Source(NamedTuple):
    recording: Recording
    sha256: str
    parts: tuple[Transitions, ...]
    rewards: _Rewards

    @property
    def transitions(self) -> int:
        return self.recording.pool.transitions


def ingest(
    workspace: Workspace, folders: Sequence[Path], *, known_bundles: Collection[str] | None
) -> Ingestion:
    """Add recordings to the workspace's `data/pool`, which DVC then tracks.

    A recording that was ingested before is skipped. So an interrupted call is finished by the same call.

    Args:
        workspace: The project whose params.yaml names the task.
        folders: Folders of closed recordings, at least one.
        known_bundles: Digests of the bundles whose recordings are accepted; None accepts any bundle.

    Raises:
        PoolError: a recording or the pool is damaged or of another task, a recording is empty or lacks
            rewards, or the task has terms that no robot records.
        BundleError: the bundle of a policy in a recording is not in `known_bundles`.
        StorageError: the pool cannot be written.
        StoreError: DVC failed; the same call may be repeated.
    """
    pool_folder = workspace.initial_pool
    history = _read_history(workspace.ingested, pool_folder)
    environment = _TaskParams.load_sections(workspace.params).task.make()
    try:
        spec = environment.spec
        _refuse_unseen_terms(spec)
        sources = _new_sources(folders, history, environment)
    finally:
        environment.close()
    for source in sources:
        _check_known(source.recording, known_bundles)
    first_step, entries = end_of(pool_folder, spec), []
    for source in sources:
        entries.append(_entry(source, first_step))
        first_step += source.transitions
    if sources:
        tree = _History(format_version=1, recordings=(*history, *entries)).as_tree()
        write_json(workspace.ingested, tree)  # first: entries beyond the pool's end do not count
        append_segments(pool_folder, spec, _numbered(sources))
    DvcStore(workspace.root).add(pool_folder)
    return Ingestion(
        pool_sha256=sha256_file(pool_folder / MANIFEST_NAME),
        pool_transitions=ReplayPool.open(pool_folder).transitions,
        recordings=tuple(entries),
        passed_over=len(folders) - len(sources),
    )


def _refuse_unseen_terms(spec: EnvSpec) -> None:
    unseen = [term.name for term in spec.observation if "policy" not in term.groups]
    if unseen:
        raise PoolFormatError(
            f"expected a task whose policy sees every term, found {spec.task}, whose policy does not see "
            f"{', '.join(unseen)}: a robot records the policy's terms only. Give these terms to the policy, "
            "or train without recordings."
        )


def _new_sources(
    folders: Sequence[Path], history: Sequence[Ingested], environment: Environment
) -> list[_Source]:
    """Read the recordings that are not in the pool yet, each once."""
    ingested = {entry.recording_sha256 for entry in history}
    sources: list[_Source] = []
    for folder in folders:
        source = _read(folder, environment)
        if source.sha256 not in ingested:
            ingested.add(source.sha256)
            sources.append(source)
    return sources


def _read(folder: Path, environment: Environment) -> _Source:
    recording, spec = Recording.open(folder), environment.spec
    if recording.header.spec != spec:
        raise PoolFormatError(
            f"{folder}: expected a recording of {spec.task} as params.yaml has it, found one of "
            f"{recording.header.spec.task}, or one with other terms, bounds or limits. Ingest it in its own "
            "task's project."
        )
    recording.check()
    if not recording.pool.transitions:
        raise PoolError(f"{folder}: expected transitions, found none.")
    recorded = [recording.pool.read(entry) for entry in recording.pool.segments]
    recomputed = [_with_task_rewards(part, environment) for part in recorded]
    parts = tuple(part for part in recomputed if part is not None)
    if len(parts) == len(recorded):
        return _Source(recording, recording.sha256, parts, "task")
    missing = int((recording.steps()["has_reward"] == 0).sum())
    if missing:
        raise PoolError(
            f"{folder}: expected a reward at every step, as {environment.spec.task} cannot compute them "
            f"again; found none at {missing} of {recording.pool.transitions}. Record with "
            "`Recorder.outcome(reward=...)`."
        )
    return _Source(recording, recording.sha256, tuple(recorded), "robot")


def _with_task_rewards(part: Transitions, environment: Environment) -> Transitions | None:
    """Return transitions with the task's own rewards and terminations; None where it cannot compute them."""
    computed = environment.compute_rewards(part.observations, part.actions, part.next_observations)
    if computed is None:
        return None
    rewards, terminations = computed
    return Transitions(**vars(part) | {"rewards": rewards, "terminations": terminations})


def _numbered(sources: Sequence[_Source]) -> Iterator[Transitions]:
    """Yield all parts with new episode ids: a recording, a gap and the step after an end begin an episode."""
    episode = -1
    for source in sources:
        before: tuple[int, bool] | None = None
        for part in source.parts:
            ended = (part.terminations > 0) | (part.truncations > 0)
            begins = np.ones(len(part), dtype=np.int64)
            begins[1:] = (part.episode_ids[1:] != part.episode_ids[:-1]) | ended[:-1]
            begins[0] = before is None or before != (int(part.episode_ids[0]), False)
            ids = episode + np.cumsum(begins)
            episode = int(ids[-1])
            before = (int(part.episode_ids[-1]), bool(ended[-1]))
            yield Transitions(**vars(part) | {"episode_ids": ids})


def _entry(source: _Source, first_step: int) -> Ingested:
    return Ingested(
        recording_sha256=source.sha256,
        policies=source.recording.header.policies,
        rewards=source.rewards,
        first_step=first_step,
        transitions=source.transitions,
    )


def _check_known(recording: Recording, known: Collection[str] | None) -> None:
    for policy in recording.header.policies:
        if known is not None and policy.bundle_sha256 not in known:
            raise BundleError(
                f"{recording.folder}: expected recordings of known policies, found bundle "
                f"{policy.bundle_sha256}: neither this workspace nor its registry has it. --any-policy "
                "accepts the recording."
            )


def _read_history(path: Path, pool: Path) -> tuple[Ingested, ...]:
    """Return the ingested recordings, without those of an interrupted ingestion.

    The entries of an interrupted ingestion end beyond the pool's last step. Recordings whose transitions were
    evicted stay: they must not be ingested again.
    """
    if not path.exists():
        return ()
    history = _History.parse(read_json(path, ConfigError), source=str(path)).recordings
    end = end_of(pool)
    return tuple(entry for entry in history if entry.first_step + entry.transitions <= end)
