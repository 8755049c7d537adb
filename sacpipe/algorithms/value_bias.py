"""How far the critics' value of an episode's first step is from the return that followed."""

from collections.abc import Callable, Sequence

from sacpipe.algorithms.base import EvaluatedEpisode
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

VALUE_BIAS = {
    "critic/value_bias": Metric(
        "reward",
        "Lowest critic's value of the first step minus the discounted return that followed; mean over "
        "episodes.",
    )
}


def value_bias(
    episodes: Sequence[EvaluatedEpisode], value: Callable[[Observation, FloatArray], float], discount: float
) -> dict[str, float]:
    """Return the mean bias over episodes, under its name.

    Args:
        episodes: At least one.
        value: Of an observation and an action.
        discount: Per step.
    """
    biases = []
    for episode in episodes:
        discounted_return = 0.0
        for reward in reversed(episode.rewards):
            discounted_return = reward + discount * discounted_return
        biases.append(value(episode.observation, episode.action) - discounted_return)
    return {"critic/value_bias": sum(biases) / len(biases)}
