"""The metrics of Soft Q-learning's updates."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sacpipe.algorithms.value_bias import VALUE_BIAS
from sacpipe.specs.metric import Metric
from sacpipe.specs.records import FloatArray

_SATURATED = 0.99

METRICS = {
    "critic/loss": Metric("reward²", "Sum over critics of half the mean squared TD error."),
    "critic/q_mean": Metric("reward", "Mean value of the batch, over all critics."),
    "critic/target_mean": Metric("reward", "Mean regression target of the critics."),
    "critic/next_soft_value_mean": Metric(
        "reward", "Mean soft value of the next observations: log-integral of exp(Q) over all actions."
    ),
    "critic/gradient_norm": Metric("reward²", "Euclidean norm of the critics' gradient, all parameters."),
    "particles/q_mean": Metric("reward", "Mean lowest critic's value of the policy's actions."),
    "particles/spread": Metric(
        "half range", "Deviation of an observation's actions, root of the mean variance; 0.577 if uniform."
    ),
    "particles/saturation": Metric("share", "Share of these actions beyond 0.99 of their range."),
    "particles/bandwidth": Metric("1", "Mean bandwidth of the kernel, a squared distance before tanh."),
    "particles/stein_norm": Metric(
        "1", "Mean length of the Stein direction before tanh; few particles keep it from vanishing."
    ),
    "particles/gradient_norm": Metric("1", "Euclidean norm of the policy's gradient, all parameters."),
} | VALUE_BIAS


class LastUpdate(NamedTuple):
    """Values of one update, kept by reference: a description costs nothing unless it is asked for."""

    q_values: FloatArray
    """Of the batch, in nats. Shape (num_critics, B)."""
    targets: FloatArray
    """In nats. Shape (B,)."""
    next_values: FloatArray
    """Soft values of the next observations, in nats. Shape (B,)."""
    actions: FloatArray
    """All particles. Shape (num_particles, B, action_dim)."""
    particle_q_values: FloatArray
    """Lowest critic's values of the fixed particles, in nats. Shape (F, B)."""
    direction_norms: FloatArray
    """Lengths of the Stein directions. Shape (U, B)."""
    bandwidths: FloatArray
    """Of the kernel. Shape (B,)."""
    critic_gradient_norm: Callable[[], float]
    actor_gradient_norm: Callable[[], float]

    def describe(self, reward_scale: float) -> dict[str, float]:
        """Return the metrics of the update."""
        errors = self.q_values.astype(np.float64) - self.targets
        squares = 0.5 * float(np.square(errors).mean(axis=1).sum())
        in_nats = {
            "critic/q_mean": self.q_values,
            "critic/target_mean": self.targets,
            "critic/next_soft_value_mean": self.next_values,
            "particles/q_mean": self.particle_q_values,
        }
        return {name: float(values.mean()) / reward_scale for name, values in in_nats.items()} | {
            "critic/loss": squares / reward_scale**2,
            "critic/gradient_norm": self.critic_gradient_norm() / reward_scale**2,
            "particles/spread": float(np.sqrt(self.actions.var(axis=0, dtype=np.float64).mean())),
            "particles/saturation": float((np.abs(self.actions) > _SATURATED).mean()),
            "particles/bandwidth": float(self.bandwidths.mean()),
            "particles/stein_norm": float(self.direction_norms.mean()),
            "particles/gradient_norm": self.actor_gradient_norm(),
        }
