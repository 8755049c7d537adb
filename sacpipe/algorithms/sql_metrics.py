"""The metrics of Soft Q-learning's updates."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sacpipe.algorithms.stein_policy import PARTICLES, Particles
from sacpipe.algorithms.value_bias import VALUE_BIAS
from sacpipe.specs.metric import Metric
from sacpipe.specs.records import FloatArray

METRICS = (
    {
        "critic/loss": Metric(
            "reward²", "Sum over critics of half the mean squared TD error.", "Critic loss"
        ),
        "critic/q_mean": Metric("reward", "Mean value of the batch, over all critics.", "Mean Q-value"),
        "critic/target_mean": Metric("reward", "Mean regression target.", "Mean target of the critics"),
        "critic/next_soft_value_mean": Metric(
            "reward", "Mean soft value of the next observations: log-integral of exp(Q) over all actions."
        ),
        "critic/gradient_norm": Metric("reward²", "Euclidean norm of the critics' gradient, all parameters."),
    }
    | PARTICLES
    | VALUE_BIAS
)


class LastUpdate(NamedTuple):
    """Values of one update, kept by reference: a description costs nothing unless it is asked for."""

    q_values: FloatArray
    """Of the batch, in nats. Shape (num_critics, B)."""
    targets: FloatArray
    """In nats. Shape (B,)."""
    next_values: FloatArray
    """Soft values of the next observations, in nats. Shape (B,)."""
    particles: Particles
    """Of the policy's step."""
    critic_gradient_norm: Callable[[], float]

    def describe(self, reward_scale: float) -> dict[str, float]:
        """Return the metrics of the update."""
        errors = self.q_values.astype(np.float64) - self.targets
        squares = 0.5 * float(np.square(errors).mean(axis=1).sum())
        in_nats = {
            "critic/q_mean": self.q_values,
            "critic/target_mean": self.targets,
            "critic/next_soft_value_mean": self.next_values,
        }
        return (
            {name: float(values.mean()) / reward_scale for name, values in in_nats.items()}
            | {
                "critic/loss": squares / reward_scale**2,
                "critic/gradient_norm": self.critic_gradient_norm() / reward_scale**2,
            }
            | self.particles.describe(reward_scale)
        )
