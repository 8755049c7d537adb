"""Opens a run: from its newest intact checkpoint, from the finished run it extends, or from step 0.

The simulator comes back by resetting with the running episode's own seed and replaying the actions that the
pool holds of it.
"""

import logging
import shutil
from pathlib import Path

import numpy as np

from sacpipe.core.errors import PoolCorruptError
from sacpipe.core.seeding import restore_generator
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.training.checkpoint import Arrays, Checkpoint, discard_beyond, intact_checkpoints
from sacpipe.training.config import TrainParams
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
    if not _resume(run) and not _extend(run, base):
        for leftover in ("pool", "checkpoints"):
            shutil.rmtree(folder / leftover, ignore_errors=True)
        run.start()
    run.start_clock()
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
    run.env_steps, run.episode, run.determinism = state.env_steps, state.episode, state.determinism
    run.writer.fill(run.buffer)
    learner, sampler = (_of_part(arrays, part) for part in ("learner", "sampler"))
    with member_errors(run.algorithm, "load_state()", run.env_steps):
        run.learner.load_state(learner)
    with member_errors(f"sampler '{run.params.replay.sampler.name}'", "load_state()", run.env_steps):
        run.mixture.load_state(sampler)
    restore_generator(run.exploration_stream, arrays["explore"].astype(np.uint64))
    restore_generator(run.sampling_stream, arrays["sample"].astype(np.uint64))
    run.averages = Averages(state.average_sums, state.average_counts)
    run.last_update = dict(state.last_update)
    run.evaluator.returns = dict(state.latest_returns)
    run.is_stopped = state.is_stopped
    run.kept.restore(state.kept, arrays)
    _replay_episode(run, run.writer.tail(run.episode))
    return True


def _of_part(arrays: Arrays, part: str) -> Arrays:
    """Return the arrays of one part of a checkpoint, by the names that the part gave them."""
    start = f"{part}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _replay_episode(run: Run, recorded: Transitions) -> None:
    """Bring the simulator to the middle of the running episode.

    A simulator whose replay differs from the record, in an observation or a reward, cannot be brought back.
    The run then goes on with the next episode, and its tier of determinism becomes `statistical`.
    """
    run.begin_episode()
    for row, action in enumerate(recorded.actions):
        step = run.environment.step(action)
        is_same = np.float32(step.reward) == recorded.rewards[row]
        if not is_same or not step.observation.equals(recorded.next_observations.rows(row)):
            _LOG.warning(
                "%s does not repeat itself: step %d of episode %d, replayed, gave another observation "
                "or reward than the recorded one. The run goes on with the next episode, of tier "
                "`statistical`.",
                run.spec.task,
                run.totals.length,
                run.episode,
            )
            run.determinism = "statistical"
            run.next_episode()
            return
        run.advance(step)
