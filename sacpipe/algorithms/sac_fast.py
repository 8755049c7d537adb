"""The update of SAC by hand, called by `SAC.update`.

The equations of `SAC.reference_update`, agreeing to rounding, with their derivatives written out. It saves,
compared with autograd: gradients of critic weights in the actor's pass, which are not used; a second pass of
the actor, by evaluating it on this and the next observations at once; dispatches, by stacking critics with
their targets and by using NumPy for arrays of a few numbers a row; every allocation.
"""

from typing import Literal, Protocol

import numpy as np
import torch

from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.networks.actor import LOG_SQRT_TWO_PI, LOG_TWO, SquashedGaussianActor
from sacpipe.networks.passes import BackwardPass, ForwardPass
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch, FloatArray

_TWO = np.float32(2.0)
_SATURATED = 0.99


class UpdatedLearner(Protocol):
    """What a fast update reads and writes of the learner it belongs to."""

    spec: EnvSpec
    gradient_steps: int
    actor: SquashedGaussianActor
    packed_actor: list[torch.Tensor]
    """Weights with biases, a tensor a layer; see `networks.passes.pack`."""
    packed_critic: list[torch.Tensor]
    packed_both: list[torch.Tensor]
    """The critics in the first half, their targets in the second."""
    log_temperature: torch.nn.Parameter
    optimisers: dict[str, Adam]
    """`actor` and `critic`."""


class FastUpdate:
    """The passes and buffers of a learner's update for one batch size, and the results of the last update.

    Args:
        learner: Its networks and optimisers are updated in place.
        batch_size: Transitions in a batch.
        discount: Per step, in [0, 1).
        actor_q: The critics' value in the actor's loss.
        matmul_precision: Of the networks' products.
    """

    def __init__(
        self,
        learner: UpdatedLearner,
        batch_size: int,
        *,
        discount: float,
        actor_q: Literal["min", "mean"],
        matmul_precision: Literal["float32", "bfloat16"],
    ) -> None:
        self._learner, self.size, self._discount = learner, batch_size, np.float32(discount)
        self._is_min = actor_q == "min"
        spec, num = learner.spec, len(learner.packed_critic[0])
        dtype = torch.float32 if matmul_precision == "float32" else torch.bfloat16
        self._actor = ForwardPass(learner.packed_actor, rows=2 * batch_size, dtype=dtype)
        self.actor_back = BackwardPass(self._actor, members=1, rows=batch_size)
        self._critics = ForwardPass(learner.packed_both, rows=batch_size, dtype=dtype)
        self.critic_back = BackwardPass(self._critics, members=num, rows=batch_size)
        self._actor_critics = ForwardPass(learner.packed_critic, rows=batch_size, dtype=dtype)
        self._actor_critics_back = BackwardPass(
            self._actor_critics, members=num, rows=batch_size, columns=slice(spec.observation_dim, None)
        )
        self._view_buffers(spec.observation_dim, spec.action_dim, num)

    def _view_buffers(self, observation_dim: int, action_dim: int, num_critics: int) -> None:
        """Name the passes' memory as NumPy arrays, by content."""
        self._seen = self._actor.inputs[0].numpy()
        output = self._actor.output[0].numpy()
        self._mean, self._unclipped_log_std = output[:, :action_dim], output[:, action_dim:]
        inputs = self._critics.inputs.numpy()
        self._critic_inputs, self._next_inputs = inputs[:num_critics], inputs[num_critics:]
        self._actor_critics_inputs = self._actor_critics.inputs.numpy()
        self._observation_columns = slice(None, observation_dim)
        self._action_columns = slice(observation_dim, None)
        values = self._critics.output[:, :, 0].numpy()
        self.q_values, self._next_q_values = values[:num_critics], values[num_critics:]
        self.new_q_values = self._actor_critics.output[:, :, 0].numpy()
        self._d_q = self.critic_back.output[:, :, 0].numpy()
        self._d_new_q = self._actor_critics_back.output[:, :, 0].numpy()
        d_output = self.actor_back.output[0].numpy()
        self._d_mean, self._d_log_std = d_output[:, :action_dim], d_output[:, action_dim:]
        self._d_actions = self._actor_critics_back.input.numpy()
        self._rows = np.arange(self.size)
        self._ones = np.ones(action_dim, dtype=np.float32)

    def run(self, batch: Batch, noise: FloatArray) -> None:
        """Make one gradient step of critics and actor, and keep the log-densities for the temperature's step.

        Args:
            batch: Raw observations.
            noise: Standard normal, shape (2, B, action_dim): for the next actions, for this observation's.

        Raises:
            DivergenceError: a value is not finite; the network it belongs to is left as it was.
        """
        self.temperature = np.exp(self._learner.log_temperature.detach().numpy())
        self._sample(batch, noise)
        self._step_critics(batch)
        self._step_actor(noise[1])

    def _sample(self, batch: Batch, noise: FloatArray) -> None:
        """Draw the actor's actions: rows [0, B) at this observation, the others at the next.

        References:
            Haarnoja et al. 2018, arXiv:1812.05905, appendix C, eq. 26; see `squashed_log_density`.
        """
        size, seen, actor = self.size, self._seen, self._learner.actor
        seen[:size], seen[size:] = batch.observations, batch.next_observations
        if actor.normaliser is not None:
            seen[...] = actor.normaliser(self._actor.inputs[0]).numpy()
        self._actor.run()
        both = np.concatenate([noise[1], noise[0]])
        self.log_std = np.clip(self._unclipped_log_std, *actor.log_std_bounds)
        self._std = np.exp(self.log_std)
        unsquashed = self._std * both
        unsquashed += self._mean
        self.actions = np.tanh(unsquashed)
        density = both * both
        density *= -0.5
        density -= self.log_std
        np.abs(unsquashed, out=unsquashed)  # log(1 - tanh(u)^2) is even in u
        density += _TWO * unsquashed
        unsquashed *= -2.0
        np.exp(unsquashed, out=unsquashed)
        density += _TWO * np.log1p(unsquashed, out=unsquashed)
        constant = len(self._ones) * (LOG_SQRT_TWO_PI + 2.0 * LOG_TWO)
        log_probs = density @ self._ones
        log_probs -= np.float32(constant)
        self.log_probs, self._next_log_probs = log_probs[:size], log_probs[size:]

    def _step_critics(self, batch: Batch) -> None:
        """Regress the critics to the soft one-step target (eq. 3 and 5)."""
        observations, actions, size = self._observation_columns, self._action_columns, self.size
        learner = self._learner
        self._critic_inputs[:, :, observations] = self._seen[:size]
        self._critic_inputs[:, :, actions] = batch.actions
        self._next_inputs[:, :, observations] = self._seen[size:]
        self._next_inputs[:, :, actions] = self.actions[size:]
        self._critics.run()
        targets = self._next_q_values.min(axis=0)
        targets -= self.temperature * self._next_log_probs
        targets *= self._discount * (1.0 - batch.terminations)
        targets += batch.rewards
        self.targets = targets
        np.subtract(self.q_values, targets, out=self._d_q)
        refuse_non_finite("critic error (value minus target)", self._d_q, learner.gradient_steps + 1)
        self._d_q *= np.float32(1.0 / size)
        self.critic_back.run()
        learner.optimisers["critic"].step(self.critic_back.gradients)

    def _step_actor(self, noise: FloatArray) -> None:
        """Descend temperature x log-density minus value (eq. 7 and 9) along reparameterised actions."""
        size, learner = self.size, self._learner
        actions = self.actions[:size]
        self._actor_critics_inputs[:, :, self._observation_columns] = self._seen[:size]
        self._actor_critics_inputs[:, :, self._action_columns] = actions
        self._actor_critics.run()
        if self._is_min:
            self._d_new_q[...] = 0.0
            self._d_new_q[self.new_q_values.argmin(axis=0), self._rows] = -1.0 / size
        else:
            self._d_new_q[...] = -1.0 / self._d_new_q.size
        refuse_non_finite("value of a new action", self.new_q_values, learner.gradient_steps + 1)
        refuse_non_finite("log-density of a new action", self.log_probs, learner.gradient_steps + 1)
        self._actor_critics_back.run()
        weight = np.float32(self.temperature / size)
        # Through the squash: d tanh(u) = 1 - a^2, and d log pi / du = 2a with the noise held fixed.
        d_mean = self._d_actions.sum(axis=0)
        d_mean *= 1.0 - actions * actions
        d_mean += (_TWO * weight) * actions
        self._d_mean[...] = d_mean
        d_mean *= self._std[:size]
        d_mean *= noise
        d_mean -= weight
        d_mean *= self.log_std[:size] == self._unclipped_log_std[:size]  # a clipped one has no gradient
        self._d_log_std[...] = d_mean
        self.actor_back.run()
        learner.optimisers["actor"].step(self.actor_back.gradients)

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update by what it left in the buffers; see docs/metrics.md."""
        size = self.size
        errors = self._d_q.astype(np.float64) * size
        losses = 0.5 * np.square(errors).mean(axis=1)
        log_probs, log_std = self.log_probs.astype(np.float64), self.log_std[:size]
        values = self.new_q_values.min(axis=0) if self._is_min else self.new_q_values.mean(axis=0)
        metrics = {f"critic/{index}/loss": float(loss) for index, loss in enumerate(losses)}
        metrics |= {f"critic/{index}/q_mean": float(q.mean()) for index, q in enumerate(self.q_values)}
        return metrics | {
            "critic/loss": float(losses.sum()),
            "critic/q_mean": float(self.q_values.mean()),
            "critic/target_mean": float(self.targets.mean()),
            "critic/td_error_std": float(errors.std()),
            "critic/gradient_norm": _norm(self.critic_back.gradients),
            "actor/loss": float((self.temperature * log_probs - values).mean()),
            "actor/entropy_nats": float(-log_probs.mean()),
            "actor/log_std_min": float(log_std.min()),
            "actor/log_std_mean": float(log_std.mean()),
            "actor/log_std_max": float(log_std.max()),
            "actor/saturation": float((np.abs(self.actions[:size]) > _SATURATED).mean()),
            "actor/gradient_norm": _norm(self.actor_back.gradients),
            "temperature/value": float(self.temperature),
        }


def _norm(gradients: list[torch.Tensor]) -> float:
    return float(torch.nn.utils.get_total_norm(gradients))
