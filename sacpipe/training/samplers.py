"""The sampler of a run, built for its task and learner, and the buffers that its batches are drawn from."""

from collections.abc import Callable
from pathlib import Path

from sacpipe.algorithms.base import Learner
from sacpipe.algorithms.td_errors import find_td_errors
from sacpipe.core.errors import ConfigError
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.initial_pool import open_initial_pool
from sacpipe.replay.samplers.base import GuidedSampler, Sampler, SamplerConfig, SamplerContext
from sacpipe.replay.samplers.mixture import Source
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import RecordedRewards
from sacpipe.training.config import TrainParams
from sacpipe.training.foreign_members import section_errors
from sacpipe.training.memory import check_memory

INITIAL_POOL = "initial_pool"
"""Key of the initial pool among the sources."""

FindRewards = Callable[[], RecordedRewards | None]


def build_sampler(
    config: SamplerConfig, spec: EnvSpec, learner: Learner, find_rewards: FindRewards
) -> Sampler:
    """Return a sampler for one buffer.

    Args:
        config: `replay.sampler` of params.yaml.
        spec: Of the task.
        learner: With its engine attached.
        find_rewards: Returns the task's rewards of recorded steps, if it has some; called if they are needed.

    Raises:
        ConfigError: the task or the learner lacks what the sampler needs.
    """
    with section_errors("replay.sampler", config.name):
        context = SamplerContext(spec, learner.discount, find_rewards)
        # A config of one's own may derive from `Config`, with `build` alone.
        build = getattr(config, "build_from", None)
        sampler: Sampler = config.build(spec, learner.discount) if build is None else build(context)
        if isinstance(sampler, GuidedSampler) and find_td_errors(learner) is None:
            raise ConfigError(
                f"'{config.name}' draws by TD errors, and {type(learner).__name__} offers none: it has no "
                "`td_errors`. The algorithms 'sac', 'td3', 'sql', 'lsp' and 'tqc' offer them, with each of "
                "our engines. Use another algorithm or engine, or `sampler: {name: uniform}`"
            )
    return sampler


def batch_sources(
    params: TrainParams,
    spec: EnvSpec,
    buffer: ReplayBuffer,
    initial_pool: Path | None,
    build: Callable[[], Sampler],
) -> list[Source]:
    """Return the sources of a batch, each with a sampler of its own, and how many transitions each gives.

    Args:
        params: `replay.initial_pool` names earlier experience, or is null; `replay.sampler` draws from both.
        spec: Of the task.
        buffer: Filled by the run itself.
        initial_pool: Folder of the pool that params name.
        build: Makes a sampler for one buffer.

    Raises:
        ConfigError: the initial pool is missing, is another than the one that was named, or does not fit into
            memory; or the sampler cannot be built.
        PoolError: the initial pool is damaged.
        ValueError: params name an initial pool and no folder was passed.
    """
    config, batch_size = params.replay.initial_pool, params.training.batch_size

    def source(key: str, name: str, filled: ReplayBuffer, transitions: int) -> Source:
        return Source(key, name, filled.view(), build(), transitions)

    def own(transitions: int) -> Source:
        return source("own", "this run's pool", buffer, transitions)

    if config is None:
        return [own(batch_size)]
    if initial_pool is None:
        raise ValueError("expected the folder of replay.initial_pool, found None")
    pool = open_initial_pool(initial_pool, config, spec)
    check_memory(params, spec, earlier_transitions=pool.transitions)
    pool.check()
    earlier = ReplayBuffer(spec, min(params.replay.capacity, pool.transitions))
    pool.fill(earlier)
    drawn = config.drawn(batch_size)
    sources = [source(INITIAL_POOL, "the initial pool", earlier, drawn)]
    return sources if drawn == batch_size else [*sources, own(batch_size - drawn)]
