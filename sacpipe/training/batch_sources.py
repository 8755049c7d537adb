"""What the batches of a run are drawn from: its own buffer, and earlier experience if params name some."""

from pathlib import Path

from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.initial_pool import open_initial_pool
from sacpipe.replay.samplers.mixture import Source
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.training.config import TrainParams
from sacpipe.training.memory import check_memory


def batch_sources(
    params: TrainParams, spec: EnvSpec, own_buffer: ReplayBuffer, initial_pool: Path | None
) -> list[Source]:
    """Return the sources of a batch and how many transitions each gives.

    Args:
        params: `replay.initial_pool` names earlier experience, or is null.
        spec: Of the task.
        own_buffer: Filled by the run itself.
        initial_pool: Folder of the pool that params name.

    Raises:
        ConfigError: the initial pool is missing, is another than the one that was named, or does not fit into
            memory.
        PoolError: the initial pool is damaged.
        ValueError: params name an initial pool and no folder was passed.
    """
    config, batch_size = params.replay.initial_pool, params.training.batch_size
    own = Source("this run's pool", own_buffer, batch_size)
    if config is None:
        return [own]
    if initial_pool is None:
        raise ValueError("expected the folder of replay.initial_pool, found None")
    pool = open_initial_pool(initial_pool, config, spec)
    check_memory(params, spec, earlier_transitions=pool.transitions)
    pool.check()
    capacity = min(params.replay.capacity, pool.transitions)
    buffer = ReplayBuffer(spec.observation_dim, spec.action_dim, capacity)
    pool.fill(buffer)
    drawn = config.drawn(batch_size)
    earlier = Source("the initial pool", buffer, drawn)
    return [earlier, own._replace(transitions=batch_size - drawn)] if drawn < batch_size else [earlier]
