"""The update of SAC by hand: what `SAC.update` runs.

The equations of `SAC.reference_update`, agreeing to rounding, with their derivatives written out. What
it saves against autograd: gradients of critic weights in the actor's pass, which nobody uses; the way
back through the critic that is not the lower one of a row; most of PyTorch's dispatch, by giving
arrays of a few numbers a row to NumPy; every allocation. The critics are as good as independent, so
each is a job for a lane; the lanes meet where a minimum over critics is taken.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.core.records import Batch, FloatArray
from sacpipe.networks.actor import LOG_SQRT_TWO_PI, LOG_TWO, SquashedGaussianActor
from sacpipe.networks.passes import ForwardPass, InputGradient, Packed, ParameterGradient, padded

if TYPE_CHECKING:
    from sacpipe.algorithms.sac import SAC

_TWO = np.float32(2.0)
_SATURATED = 0.99


class FastUpdate:
    """The passes and buffers of a learner's update for one batch size, and what the last one left in them."""

    def __init__(self, learner: "SAC", batch_size: int) -> None:
        self._learner, self.size = learner, batch_size
        self._is_min = learner.config.actor_q == "min"
        spec, num = learner.spec, learner.config.num_critics
        dtype = torch.float32 if learner.config.matmul_precision == "float32" else torch.bfloat16
        self._here, self._there = (
            _Sample(learner.actor, learner.packed_actor, batch_size, dtype) for _ in range(2)
        )
        middle = (batch_size + 1) // 2
        halves = [slice(0, middle), slice(middle, batch_size)] if batch_size > 1 else [slice(0, 1)]
        self._halves = [(rows, ParameterGradient(self._here.forward, rows)) for rows in halves]
        self.q_values, self.new_q_values = (np.zeros((num, batch_size), np.float32) for _ in range(2))
        self._next_q_values, self._errors = np.zeros_like(self.q_values), np.zeros_like(self.q_values)
        width = spec.observation_dim + spec.action_dim
        inputs = [padded(batch_size, width) for _ in range(3)]
        self._inputs, self._next_inputs, self._new_inputs = (
            (array[:, : spec.observation_dim], array[:, spec.observation_dim : width])
            for array in (tensor.numpy() for tensor in inputs)
        )
        columns = slice(spec.observation_dim, width)
        self._critics = [
            _Critic(online, slow, adam, inputs, columns, dtype)
            for online, slow, adam in zip(
                learner.packed_critics, learner.packed_targets, learner.critic_optimisers, strict=True
            )
        ]
        self._d_actions = np.zeros((batch_size, spec.action_dim), np.float32)
        self._all_rows = np.arange(batch_size)

    def run(self, batch: Batch, noise: FloatArray, tau: float | None) -> None:
        """Make one gradient step of critics and actor, and leave the log-densities for the temperature's.

        Args:
            batch: Raw observations.
            noise: Standard normal, shape (2, B, action_dim): for the next actions, for this observation's.
            tau: Share of the critics taken into their targets, or None to leave these.

        Raises:
            DivergenceError: a value is not finite; the network it belongs to is left as it was.
        """
        self.temperature = np.exp(self._learner.log_temperature.detach().numpy())
        self._learner.lanes.run(
            partial(self._there.draw, batch.next_observations, noise[0]),
            partial(self._here.draw, batch.observations, noise[1]),
        )
        self._step_critics(batch)
        self._step_actor(noise[1], tau)

    @property
    def log_probs(self) -> FloatArray:
        """Log-density of the action drawn at each observation, in nats. Shape (B,)."""
        return self._here.log_probs

    def _step_critics(self, batch: Batch) -> None:
        """Regress the critics to the soft one-step target (eq. 3 and 5); let them judge the new actions."""
        self._inputs[0][...], self._inputs[1][...] = self._here.seen, batch.actions
        self._next_inputs[0][...], self._next_inputs[1][...] = self._there.seen, self._there.actions
        self._new_inputs[0][...], self._new_inputs[1][...] = self._here.seen, self._here.actions
        lanes, critics = self._learner.lanes, list(enumerate(self._critics))
        lanes.run(*(partial(self._evaluate, index, critic) for index, critic in critics))
        targets = self._next_q_values.min(axis=0)
        targets -= self.temperature * self._there.log_probs
        targets *= np.float32(self._learner.config.discount) * (1.0 - batch.terminations)
        targets += batch.rewards
        self.targets = targets
        np.subtract(self.q_values, targets, out=self._errors)
        self._refuse("critic error (value minus target)", self._errors)
        lanes.run(*(partial(self._improve, index, critic) for index, critic in critics))

    def _evaluate(self, index: int, critic: "_Critic") -> None:
        self.q_values[index] = critic.online.run().numpy()[:, 0]
        self._next_q_values[index] = critic.slow.run().numpy()[:, 0]

    def _improve(self, index: int, critic: "_Critic") -> None:
        np.multiply(self._errors[index], np.float32(1.0 / self.size), out=critic.d_value)
        critic.gradient.run()
        critic.adam.step(critic.gradient.gradients)
        self.new_q_values[index] = critic.judge.run().numpy()[:, 0]

    def _step_actor(self, noise: FloatArray, tau: float | None) -> None:
        """Descend temperature x log-density minus value (eq. 7 and 9) along reparameterised actions."""
        self._refuse("value of a new action", self.new_q_values)
        self._refuse("log-density of a new action", self._here.log_probs)
        lanes, here = self._learner.lanes, self._here
        lower = self.new_q_values.argmin(axis=0)
        for index, critic in enumerate(self._critics):
            critic.rows = np.flatnonzero(lower == index) if self._is_min else self._all_rows
        lanes.run(*(partial(critic.trace, tau) for critic in self._critics))
        d_actions = self._d_actions
        d_actions[...] = 0.0
        for critic in self._critics:
            d_actions[critic.rows] += critic.d_actions
        d_actions *= np.float32(-1.0 / (self.size if self._is_min else self.new_q_values.size))
        weight = np.float32(self.temperature / self.size)
        # Through the squash: d tanh(u) = 1 - a^2, and d log pi / du = 2a with the noise held fixed.
        d_actions *= 1.0 - here.actions * here.actions
        d_actions += (_TWO * weight) * here.actions
        d_log_std = d_actions * here.std
        d_log_std *= noise
        d_log_std -= weight
        d_log_std *= here.log_std == here.unclipped_log_std  # a clipped one has no gradient
        d_output = torch.from_numpy(np.concatenate([d_actions, d_log_std], axis=1))
        lanes.run(*(partial(_run_rows, gradient, d_output[rows]) for rows, gradient in self._halves))
        self._learner.actor_optimiser.step(self._sum_actor_gradients())

    def _sum_actor_gradients(self) -> Packed:
        """Add up what the rows' halves gave, once: the first half then holds the sum."""
        (_, first), *others = self._halves
        for _, other in others:
            torch._foreach_add_(first.gradients, other.gradients)
        return first.gradients

    def _refuse(self, term: str, values: FloatArray) -> None:
        refuse_non_finite(term, values, self._learner.gradient_steps + 1)

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update by what it left in the buffers; see docs/metrics.md."""
        here, errors = self._here, self._errors.astype(np.float64)
        losses = 0.5 * np.square(errors).mean(axis=1)
        log_probs = here.log_probs.astype(np.float64)
        values = self.new_q_values.min(axis=0) if self._is_min else self.new_q_values.mean(axis=0)
        metrics = {f"critic/{index}/loss": float(loss) for index, loss in enumerate(losses)}
        metrics |= {f"critic/{index}/q_mean": float(q.mean()) for index, q in enumerate(self.q_values)}
        critic_gradients = [tensor for critic in self._critics for tensor in critic.gradient.gradients]
        return metrics | {
            "critic/loss": float(losses.sum()),
            "critic/q_mean": float(self.q_values.mean()),
            "critic/target_mean": float(self.targets.mean()),
            "critic/td_error_std": float(errors.std()),
            "critic/gradient_norm": _norm(critic_gradients),
            "actor/loss": float((self.temperature * log_probs - values).mean()),
            "actor/entropy_nats": float(-log_probs.mean()),
            "actor/log_std_min": float(here.log_std.min()),
            "actor/log_std_mean": float(here.log_std.mean()),
            "actor/log_std_max": float(here.log_std.max()),
            "actor/saturation": float((np.abs(here.actions) > _SATURATED).mean()),
            "actor/gradient_norm": _norm(self._halves[0][1].gradients),
            "temperature/value": float(self.temperature),
        }


class _Sample:
    """The actor at one set of observations: what it saw, drew, and how dense that was."""

    def __init__(
        self, actor: SquashedGaussianActor, packed: Packed, batch_size: int, dtype: torch.dtype
    ) -> None:
        observation_dim, action_dim = packed[0].shape[0] - 1, actor.action_dim
        inputs = padded(batch_size, observation_dim)
        self.forward = ForwardPass(packed, inputs, dtype)
        self.seen = inputs.numpy()[:, :observation_dim]
        """Observations as the networks see them. Shape (B, observation_dim)."""
        output = self.forward.output.numpy()
        self._mean, self.unclipped_log_std = output[:, :action_dim], output[:, action_dim:]
        self._bounds, self._normaliser = actor.log_std_bounds, actor.normaliser
        self._ones = np.ones(action_dim, dtype=np.float32)
        self._constant = np.float32(action_dim * (LOG_SQRT_TWO_PI + 2.0 * LOG_TWO))

    def draw(self, observations: FloatArray, noise: FloatArray) -> None:
        """Draw reparameterised actions and their log-densities.

        References:
            Haarnoja et al. 2018, arXiv:1812.05905, appendix C, eq. 26; see `squashed_log_density`.
        """
        if self._normaliser is None:
            self.seen[...] = observations
        else:
            self.seen[...] = self._normaliser(torch.from_numpy(observations)).numpy()
        self.forward.run()
        self.log_std = np.clip(self.unclipped_log_std, *self._bounds)
        self.std = np.exp(self.log_std)
        unsquashed = self.std * noise
        unsquashed += self._mean
        self.actions = np.tanh(unsquashed)
        density = noise * noise
        density *= -0.5
        density -= self.log_std
        np.abs(unsquashed, out=unsquashed)  # log(1 - tanh(u)^2) is even in u
        density += _TWO * unsquashed
        unsquashed *= -2.0
        np.exp(unsquashed, out=unsquashed)
        density += _TWO * np.log1p(unsquashed, out=unsquashed)
        self.log_probs: FloatArray = np.matmul(density, self._ones, dtype=np.float32)
        self.log_probs -= self._constant


class _Critic:
    """All of one critic: itself at the batch, its target at what came next, its verdict on new actions."""

    def __init__(
        self,
        online: Packed,
        slow: Packed,
        adam: Adam,
        inputs: list[torch.Tensor],
        columns: slice,
        dtype: torch.dtype,
    ) -> None:
        here, there, new = inputs
        self.online, self.slow = ForwardPass(online, here, dtype), ForwardPass(slow, there, dtype)
        self.judge = ForwardPass(online, new, dtype)
        self.gradient, self._to_actions = ParameterGradient(self.online), InputGradient(self.judge, columns)
        self.adam, self._parameters, self._slow_parameters = adam, online, slow
        self.d_value = self.gradient.output.numpy()[:, 0]
        """Gradient of the critic's loss at its values. Shape (B,)."""
        self.rows = np.arange(0)
        """Where this critic's value of the new action counts."""

    def trace(self, tau: float | None) -> None:
        """Find the value's gradient at the new actions of `rows`; then let the target follow by tau."""
        self.d_actions = self._to_actions.run(self.rows).numpy()
        if tau is not None:
            torch._foreach_lerp_(self._slow_parameters, self._parameters, tau)


def _run_rows(gradient: ParameterGradient, d_output: torch.Tensor) -> None:
    gradient.output.copy_(d_output)
    gradient.run()


def _norm(gradients: Packed) -> float:
    return float(torch.nn.utils.get_total_norm(gradients))
