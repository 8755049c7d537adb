"""The sampler of a run, built for its task and learner; what it needs and they lack is refused here."""

from collections.abc import Callable

from sacpipe.algorithms.base import Learner
from sacpipe.algorithms.td_errors import find_td_errors
from sacpipe.core.errors import ConfigError
from sacpipe.replay.samplers.base import GuidedSampler, Sampler, SamplerConfig, SamplerContext
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import RecordedRewards
from sacpipe.training.foreign_members import section_errors

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
