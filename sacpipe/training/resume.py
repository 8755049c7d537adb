"""Opens a run: from its newest intact checkpoint, from the finished run it extends, or from step 0.

Each simulator comes back by resetting with its running episode's own seed and replaying the recorded actions.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sacpipe.algorithms.base import Arrays, part_of
from sacpipe.core.errors import PoolCorruptError
from sacpipe.core.seeding import restore_generator
from sacpipe.replay.pool.episode_order import EpisodeOrder
from sacpipe.replay.pool.segments import restored_transitions
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.records import Step
from sacpipe.training.checkpoint import (
    LEARNER_PREFIX,
    SAMPLER_PREFIX,
    WAITING_PREFIX,
    Checkpoint,
    discard_beyond,
    intact_checkpoints,
)
from sacpipe.training.config import TrainParams
from sacpipe.training.environments import TrainingEnvironment
from sacpipe.training.extension import adopt_finished_run
from sacpipe.training.foreign_members import member_errors
from sacpipe.training.metrics import Averages, LineFile, TornFileError
from sacpipe.training.run import Run

_LOG = logging.getLogger(__name__)


def open_run(
    params: TrainParams,
    folder: Path,
    stage_key: str,
    *,
    base: Path | None = None,
    initial_pool: Path | None = None,
    warm_start: Path | None = None,
) -> Run:
    """Return a run at the step where it continues.

    Args:
        params: The sections of params.yaml that the run depends on.
        folder: `work/<stage key>/`, for everything unfinished.
        stage_key: The run's identity.
        base: Folder of the finished run that `training.extends` names.
        initial_pool: Folder of the pool that `replay.initial_pool` names.
        warm_start: Folder of the weights that `training.warm_start` names.

    Raises:
        CheckpointError: the folder, or the run to extend, holds a checkpoint of another run.
        ConfigError: the initial pool or the weights are missing, or others than those that were named.
        PoolError: the initial pool is damaged.
        StorageError: the folder cannot be written.
    """
    run = Run(params, folder, stage_key, initial_pool, warm_start)
    try:
        if not _resume(run) and not _extend(run, base):
            for leftover in ("pool", "checkpoints"):
                shutil.rmtree(folder / leftover, ignore_errors=True)
            run.start()
        run.start_clock()
    except BaseException:
        run.close_environments()
        raise
    return run


def _resume(run: Run) -> bool:
    """Continue from the newest intact checkpoint; return whether there was one."""
    checkpoints = run.folder / "checkpoints"
    for checkpoint in intact_checkpoints(checkpoints, run.stage_key):
        if _continue_from(run, checkpoint):
            discard_beyond(checkpoints, run.env_steps)
            return True
    return False


def _extend(run: Run, base: Path | None) -> bool:
    """Continue from the finished run that this one extends; return whether it extends one."""
    extended = run.params.training.extends
    if extended is None or base is None:
        return False
    adopt_finished_run(base, extended, run.folder, run.stage_key, run.params.as_tree())
    return _resume(run)


def _continue_from(run: Run, checkpoint: Checkpoint) -> bool:
    """Restore a checkpoint; return False if the experience or the rows it counts on are damaged."""
    state, arrays = checkpoint
    try:
        run.metrics = LineFile(run.folder / "metrics.jsonl", state.metrics_bytes)
        run.curve = LineFile(run.folder / "curve.csv", state.curve_bytes)
        run.writer = PoolWriter.resume(run.folder / "pool", run.spec, run.params.replay, state.pool)
    except (PoolCorruptError, TornFileError) as exc:
        _LOG.warning("step %d cannot be continued from: %s", state.env_steps, exc)
        return False
    run.env_steps, run.determinism = state.env_steps, state.determinism
    run.episode_environments = arrays["episode_environments"].tolist()
    run.pool = EpisodeOrder(run.writer, state.episodes, _waiting(run, arrays))
    if run.num_environments == 1:
        run.buffer.load(run.pool.parts())
    else:
        run.buffer.load_in_turn(run.pool.parts(), arrays["episode_environments"].astype(np.int64))
    with member_errors(run.algorithm, "load_state()", run.env_steps):
        run.learner.load_state(part_of(arrays, LEARNER_PREFIX))
    with member_errors(run.sampler_name, "load_state()", run.env_steps):
        run.mixture.load_state(part_of(arrays, SAMPLER_PREFIX))
    restore_generator(run.sampling_stream, arrays["sample"].astype(np.uint64))
    run.averages = Averages(state.average_sums, state.average_counts)
    run.last_update = dict(state.last_update)
    run.evaluator.returns = dict(state.latest_returns)
    run.is_stopped = state.is_stopped
    run.kept.restore(state.kept, arrays)
    _continue_environments(run, checkpoint)
    return True


def _waiting(run: Run, arrays: Arrays) -> Transitions | None:
    """Return the transitions that the checkpoint holds instead of the pool."""
    tensors = part_of(arrays, WAITING_PREFIX)
    return restored_transitions(tensors, run.spec, "compact", run.folder) if tensors else None


def _continue_environments(run: Run, checkpoint: Checkpoint) -> None:
    """Bring every simulator to the middle of its running episode, and begin the steps that had begun."""
    state, arrays = checkpoint
    streams = arrays["explore"].astype(np.uint64)
    for environment, episode, stream in zip(run.environments, state.episodes, streams, strict=True):
        environment.episode = episode
        restore_generator(environment.exploration_stream, stream)
    recorded = [run.pool.tail(episode) for episode in state.episodes]
    _replay_episodes(run, recorded)
    if state.acting_gradient_steps is not None:
        for environment, action in zip(run.environments, arrays["actions"].astype(np.float32), strict=True):
            environment.begin_step(action)
        run.acting_gradient_steps = state.acting_gradient_steps


def _replay_episodes(run: Run, recorded: Sequence[Transitions]) -> None:
    """Step the simulators, side by side, through the recorded actions of their running episodes.

    A simulator whose replay differs from the record, in an observation or a reward, cannot be brought back.
    The run then goes on with the next episode there, and its tier of determinism becomes `statistical`.
    """
    running = dict(zip(run.environments, recorded, strict=True))
    for environment in running:
        environment.begin_episode()
    for row in range(max(map(len, recorded))):
        running = {environment: rows for environment, rows in running.items() if row < len(rows)}
        for environment, rows in running.items():
            environment.begin_step(rows.actions[row])
        steps = {environment: environment.finish_step() for environment in running}
        for environment, step in steps.items():
            if _repeats(step, running[environment][row : row + 1]):
                environment.advance(step)
            else:
                _warn(run, environment)
                run.determinism = "statistical"
                run.begin_next_episode(environment)
                del running[environment]


def _repeats(step: Step, recorded: Transitions) -> bool:
    is_same = np.float32(step.reward) == recorded.rewards[0]
    return bool(is_same) and step.observation.equals(recorded.next_observations.rows(0))


def _warn(run: Run, environment: TrainingEnvironment) -> None:
    _LOG.warning(
        "%s does not repeat itself: step %d of episode %d, replayed, gave another observation or reward than "
        "the recorded one. The run goes on with the next episode, of tier `statistical`.",
        run.spec.task,
        environment.totals.length,
        environment.episode,
    )
