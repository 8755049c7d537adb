"""What Soft Actor-Critic tells of its last update."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from sacpipe.algorithms.actor_critic import VALUE_BIAS
from sacpipe.specs.metric import Metric
from sacpipe.specs.records import FloatArray

_SATURATED = 0.99

METRICS = {
    "temperature/value": Metric("reward/nat", "Weight of the entropy term.", "Temperature"),
    "actor/entropy_nats": Metric(
        "nats", "Estimate of the policy's entropy: mean of minus log-density.", "Entropy of the policy"
    ),
    "critic/loss": Metric("reward²", "Sum over critics of half the mean squared TD error.", "Critic loss"),
    "critic/q_mean": Metric("reward", "Mean value of the batch, over all critics.", "Mean Q-value"),
    "actor/loss": Metric("reward", "Mean of temperature x log-density minus value.", "Actor loss"),
    "critic/target_mean": Metric("reward", "Mean regression target.", "Mean target of the critics"),
    "temperature/entropy_gap_nats": Metric(
        "nats", "Target minus entropy; above zero, the temperature rises."
    ),
    "critic/{i}/loss": Metric("reward²", "Part of each critic in `critic/loss`."),
    "critic/{i}/q_mean": Metric("reward", "Mean value of the batch, by critic."),
    "critic/td_error_std": Metric("reward", "Standard deviation of value minus target over the batch."),
    "critic/gradient_norm": Metric("reward²", "Euclidean norm of the critics' gradient, all parameters."),
    "actor/log_std_min": Metric("nats", "Lowest log deviation before the squash, over batch and actions."),
    "actor/log_std_mean": Metric("nats", "Mean log deviation before the squash, over batch and actions."),
    "actor/log_std_max": Metric("nats", "Highest log deviation before the squash, over batch and actions."),
    "actor/saturation": Metric("share", "Share of sampled actions beyond 0.99 of their range: tanh is flat."),
    "actor/gradient_norm": Metric("reward", "Euclidean norm of the actor's gradient, all parameters."),
} | VALUE_BIAS


class LastUpdate(NamedTuple):
    """Values of one update, kept by reference: a description costs nothing unless it is asked for."""

    q_values: FloatArray
    """Of the batch. Shape (num_critics, B)."""
    targets: FloatArray
    """Shape (B,)."""
    new_q_values: FloatArray
    """Of the actions that the policy drew. Shape (num_critics, B)."""
    log_probs: FloatArray
    """Of these actions, in nats. Shape (B,)."""
    log_std: FloatArray
    """Shape (B, action_dim)."""
    actions: FloatArray
    """Drawn by the policy. Shape (B, action_dim)."""
    temperature: float
    """Before this update's own temperature step."""
    critic_gradient_norm: Callable[[], float]
    """Euclidean norm over all parameters of all critics, computed when it is called."""
    actor_gradient_norm: Callable[[], float]
    """Of the policy."""

    def describe(self, actor_q: Literal["min", "mean"], target_entropy: float | None) -> dict[str, float]:
        """Return the metrics of the update; the entropy gap only where there is a target entropy."""
        errors = self.q_values.astype(np.float64) - self.targets
        losses = 0.5 * np.square(errors).mean(axis=1)
        log_probs = self.log_probs.astype(np.float64)
        values = self.new_q_values.min(axis=0) if actor_q == "min" else self.new_q_values.mean(axis=0)
        metrics = {f"critic/{index}/loss": float(loss) for index, loss in enumerate(losses)}
        metrics |= {f"critic/{index}/q_mean": float(q.mean()) for index, q in enumerate(self.q_values)}
        metrics |= {
            "critic/loss": float(losses.sum()),
            "critic/q_mean": float(self.q_values.mean()),
            "critic/target_mean": float(self.targets.mean()),
            "critic/td_error_std": float(errors.std()),
            "critic/gradient_norm": self.critic_gradient_norm(),
            "actor/loss": float((self.temperature * log_probs - values).mean()),
            "actor/entropy_nats": float(-log_probs.mean()),
            "actor/log_std_min": float(self.log_std.min()),
            "actor/log_std_mean": float(self.log_std.mean()),
            "actor/log_std_max": float(self.log_std.max()),
            "actor/saturation": float((np.abs(self.actions) > _SATURATED).mean()),
            "actor/gradient_norm": self.actor_gradient_norm(),
            "temperature/value": float(self.temperature),
        }
        if target_entropy is not None:
            metrics["temperature/entropy_gap_nats"] = target_entropy + float(log_probs.mean())
        return metrics
