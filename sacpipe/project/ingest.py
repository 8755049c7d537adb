"""Taking a robot's recordings into `data/pool`, from which the next training may begin.

Floor 5. A recording is read whole and checked against its digests, against the task of params.yaml, and
against the policies that are known here, before a byte of the pool changes. `data/ingested.json` tells,
for git, which recording became which transitions. docs/recording.md has the page.
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

_Rewards = Literal["robot", "task"]


class _TaskParams(Config):
    """The section of params.yaml that recordings are compared with."""

    task: TaskConfig


class Ingested(Config):
    """A recording that was taken in."""

    recording_sha256: str
    """Of its recording.json."""
    policies: tuple[RecordedPolicy, ...]
    rewards: _Rewards
    """Whether the robot gave them or the task computed them again."""
    first_step: int = Field(ge=0)
    """Place of its first transition in the pool."""
    transitions: int = Field(ge=1)


class _History(Config):
    """The whole of data/ingested.json."""

    format_version: Literal[1]
    recordings: tuple[Ingested, ...]


class Ingestion(Config):
    """What became of some recordings."""

    pool_sha256: str
    """Of the pool's manifest: what `replay.initial_pool.sha256` names."""
    pool_transitions: int
    recordings: tuple[Ingested, ...]
    """Those taken in now."""
    passed_over: int
    """Recordings that were in the pool already, or were named twice."""


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
    """Take recordings into the workspace's `data/pool`, and have DVC track it.

    One that is there already is passed over, so that the same call finishes what was cut off.

    Args:
        workspace: Whose params.yaml names the task.
        folders: Of closed recordings, one at least.
        known_bundles: Digests of the bundles whose recordings are taken; None for those of any bundle.

    Raises:
        PoolError: a recording is damaged, of another task, empty or without rewards, or the pool is.
        BundleError: a policy that acted is not known here.
        StorageError: the pool cannot be written.
        StoreError: DVC failed; the same call may be made again.
    """
    pool_folder = workspace.initial_pool
    history = _read_history(workspace.ingested, pool_folder)
    environment = _TaskParams.load_sections(workspace.params).task.make()
    try:
        spec, sources = environment.spec, _new_sources(folders, history, environment)
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
        write_json(workspace.ingested, tree)  # first: what the pool does not reach yet does not count
        append_segments(pool_folder, spec, _numbered(sources))
    DvcStore(workspace.root).add(pool_folder)
    return Ingestion(
        pool_sha256=sha256_file(pool_folder / MANIFEST_NAME),
        pool_transitions=ReplayPool.open(pool_folder).transitions,
        recordings=tuple(entries),
        passed_over=len(folders) - len(sources),
    )


def _new_sources(
    folders: Sequence[Path], history: Sequence[Ingested], environment: Environment
) -> list[_Source]:
    """Read what is not in the pool yet, each recording once."""
    taken = {entry.recording_sha256 for entry in history}
    sources: list[_Source] = []
    for folder in folders:
        source = _read(folder, environment)
        if source.sha256 not in taken:
            taken.add(source.sha256)
            sources.append(source)
    return sources


def _read(folder: Path, environment: Environment) -> _Source:
    recording = Recording.open(folder)
    if recording.header.spec != environment.spec:
        raise PoolFormatError(
            f"{folder}: expected a recording of {environment.spec.task} as params.yaml has it, found one of "
            f"{recording.header.spec.task} or of other terms, bounds or limits. Ingest it where its task is."
        )
    recording.check()
    if not recording.pool.transitions:
        raise PoolError(f"{folder}: expected transitions, found none.")
    recorded = [recording.pool.read(entry) for entry in recording.pool.segments]
    again = [_judged(part, environment) for part in recorded]
    if any(part is None for part in again):
        silent = int((recording.steps()["has_reward"] == 0).sum())
        if silent:
            raise PoolError(
                f"{folder}: expected a reward at every step, as {environment.spec.task} cannot compute them "
                f"again; found none at {silent} of {recording.pool.transitions}. Record with "
                "`Recorder.outcome(reward=...)`."
            )
        return _Source(recording, recording.sha256, tuple(recorded), "robot")
    parts = tuple(part for part in again if part is not None)
    return _Source(recording, recording.sha256, parts, "task")


def _judged(part: Transitions, environment: Environment) -> Transitions | None:
    """Return transitions with the task's own rewards and terminations, or None where it has none."""
    again = environment.compute_rewards(part.observations, part.actions, part.next_observations)
    if again is None:
        return None
    rewards, terminations = again
    return Transitions(**vars(part) | {"rewards": rewards, "terminations": terminations})


def _numbered(sources: Sequence[_Source]) -> Iterator[Transitions]:
    """Give all parts with episodes numbered anew: an end that the robot did not see ends one too."""
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
                f"{recording.folder}: expected recordings of policies that are known here, found bundle "
                f"{policy.bundle_sha256}: neither this workspace nor its registry has it. --any-policy takes "
                "the recording all the same."
            )


def _read_history(path: Path, pool: Path) -> tuple[Ingested, ...]:
    """Return what the pool holds; an entry that it does not reach is of an ingestion that was cut off."""
    if not path.exists():
        return ()
    history = _History.parse(read_json(path, ConfigError), source=str(path)).recordings
    end = end_of(pool)
    return tuple(entry for entry in history if entry.first_step + entry.transitions <= end)
