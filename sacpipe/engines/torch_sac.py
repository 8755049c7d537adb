"""The update of SAC by hand, for learners with multilayer perceptrons.

The equations of `SAC.update`, agreeing to rounding, with their derivatives written out. It saves, compared
with autograd: gradients of critic weights in the actor's pass, which are not used; a second pass of the
actor, by evaluating it on this and the next observations at once; dispatches, by stacking critics with their
targets and by using NumPy for arrays of a few numbers a row; every allocation.
"""

from typing import Literal

import numpy as np
import torch

from sacpipe.algorithms.adam import move_targets
from sacpipe.algorithms.delegating import DelegatingLearner
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.losses import norm_of
from sacpipe.algorithms.sac import SAC
from sacpipe.algorithms.sac_metrics import LastUpdate
from sacpipe.algorithms.soft_actor_critic import AutomaticTemperature
from sacpipe.engines.passes import BackwardPass, ForwardPass, pack_parameters, repack
from sacpipe.networks.policies.reparameterised import LOG_SQRT_TWO_PI, LOG_TWO
from sacpipe.specs.records import Batch, FloatArray

_TWO = np.float32(2.0)


class TorchSAC(DelegatingLearner):
    """Updates one learner, whose parameters and moments it moves into packed tensors.

    Args:
        learner: Its networks and optimisers are updated in place.
        matmul_precision: Of the networks' products.
    """

    def __init__(self, learner: SAC, matmul_precision: Literal["float32", "bfloat16"]) -> None:
        super().__init__(learner)
        self.learner = learner
        self.dtype = torch.float32 if matmul_precision == "float32" else torch.bfloat16
        num = learner.config.num_critics
        self.packed_actor = pack_parameters([learner.actor.network])
        self.packed_both = pack_parameters([learner.critic.network, learner.target_critic.network])
        """The critics in the first half, their targets in the second."""
        self.packed_critic = [tensor[:num] for tensor in self.packed_both]
        self._packed_target = [tensor[num:] for tensor in self.packed_both]
        self.critic_adam = learner.optimisers["critic"].repacked(self.packed_critic, repack)
        self.actor_adam = learner.optimisers["actor"].repacked(self.packed_actor, repack)
        self._temperature_gradient = torch.zeros(())
        self._passes: _Passes | None = None

    def update(self, batch: Batch) -> None:
        """Make one step of critics, actor, temperature and targets; see `Learner.update`."""
        size = len(batch.rewards)
        if self._passes is None or self._passes.size != size:
            self._passes = _Passes(self, size)
        self.learner.last = self._passes.run(batch, self.learner.draw_noise(size))
        self._step_temperature(self.learner.last.log_probs)
        self._step_targets()

    def td_errors(self) -> FloatArray:
        """Return the absolute TD errors of the last update; see `LearnerWithErrors`."""
        return self.learner.td_errors()

    def _step_temperature(self, log_probs: FloatArray) -> None:
        """Descend eq. 18 by hand: its gradient with respect to log alpha."""
        learner, rule = self.learner, self.learner.config.temperature
        if isinstance(rule, AutomaticTemperature):
            target = rule.target_entropy(learner.spec.action_dim)
            gradient = -(log_probs.mean() + np.float32(target))
            if rule.objective == "temperature":
                gradient *= np.exp(learner.log_temperature.detach().numpy())
            self._temperature_gradient.numpy()[...] = gradient
            learner.optimisers["temperature"].step([self._temperature_gradient], learner.gradient_steps)

    def _step_targets(self) -> None:
        learner = self.learner
        learner.gradient_steps += 1
        if learner.gradient_steps % learner.config.target_update_interval == 0:
            move_targets(self._packed_target, self.packed_critic, learner.config.tau)


class _Passes:
    """The passes and buffers of an update for one batch size.

    Args:
        owner: Its learner and packed parameters.
        batch_size: Transitions in a batch.
    """

    def __init__(self, owner: TorchSAC, batch_size: int) -> None:
        self._owner, self._learner, self.size = owner, owner.learner, batch_size
        self._is_min = owner.learner.config.actor_q == "min"
        num, dtype = owner.learner.config.num_critics, owner.dtype
        self._actor = ForwardPass(owner.packed_actor, rows=2 * batch_size, dtype=dtype)
        self._actor_back = BackwardPass(self._actor, members=1, rows=batch_size)
        self._critics = ForwardPass(owner.packed_both, rows=batch_size, dtype=dtype)
        self._critic_back = BackwardPass(self._critics, members=num, rows=batch_size)
        self._actor_critics = ForwardPass(owner.packed_critic, rows=batch_size, dtype=dtype)
        observation_dim = owner.learner.critic_inputs.group.vector_dim
        self._actor_critics_back = BackwardPass(
            self._actor_critics, members=num, rows=batch_size, columns=slice(observation_dim, None)
        )
        self._view_buffers(observation_dim, owner.learner.spec.action_dim, num)

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
        self._d_q = self._critic_back.output[:, :, 0].numpy()
        self._d_new_q = self._actor_critics_back.output[:, :, 0].numpy()
        d_output = self._actor_back.output[0].numpy()
        self._d_mean, self._d_log_std = d_output[:, :action_dim], d_output[:, action_dim:]
        self._d_actions = self._actor_critics_back.input.numpy()
        self._rows = np.arange(self.size)
        self._ones = np.ones(action_dim, dtype=np.float32)

    def run(self, batch: Batch, noise: FloatArray) -> LastUpdate:
        """Make one gradient step of critics and actor.

        Args:
            batch: Raw observations.
            noise: Standard normal, shape (2, B, action_dim): for the next actions, for this observation's.

        Raises:
            DivergenceError: a value is not finite; the network it belongs to is left as it was.
        """
        self.temperature = np.exp(self._learner.log_temperature.detach().numpy())
        self._see(batch)
        self._sample(noise)
        self._step_critics(batch)
        self._step_actor(noise[1])
        return LastUpdate(
            self.q_values,
            self.targets,
            self.new_q_values,
            self.log_probs,
            self.log_std[: self.size],
            self.actions[: self.size],
            float(self.temperature),
            norm_of(self._critic_back.gradients),
            norm_of(self._actor_back.gradients),
        )

    def _see(self, batch: Batch) -> None:
        """Fill the inputs: rows [0, B) with this observation, the others with the next."""
        size, seen, learner = self.size, self._seen, self._learner
        seen[:size] = batch.observations.group("policy")
        seen[size:] = batch.next_observations.group("policy")
        if learner.actor.normaliser is not None:
            seen[...] = learner.actor.normaliser(self._actor.inputs[0]).numpy()
        observations, inputs = self._observation_columns, learner.critic_inputs
        if inputs.is_shared:
            here, there = seen[:size], seen[size:]
        else:
            here = inputs.of(batch.observations).vector.numpy()
            there = inputs.of(batch.next_observations).vector.numpy()
        self._critic_inputs[:, :, observations] = here
        self._next_inputs[:, :, observations] = there
        self._actor_critics_inputs[:, :, observations] = here

    def _sample(self, noise: FloatArray) -> None:
        """Draw the actor's actions at this and the next observations.

        References:
            Haarnoja et al. 2018, arXiv:1812.05905, appendix C, eq. 26; see `squashed_log_density`.
        """
        size, actor = self.size, self._learner.actor
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
        actions, size, learner = self._action_columns, self.size, self._learner
        self._critic_inputs[:, :, actions] = batch.actions
        self._next_inputs[:, :, actions] = self.actions[size:]
        self._critics.run()
        targets = self._next_q_values.min(axis=0)
        targets -= self.temperature * self._next_log_probs
        targets *= batch.discounts
        targets += batch.rewards
        self.targets = targets
        np.subtract(self.q_values, targets, out=self._d_q)
        refuse_non_finite("critic error (value minus target)", self._d_q, learner.gradient_steps + 1)
        self._d_q *= np.float32(1.0 / size)
        if batch.weights is not None:
            self._d_q *= batch.weights
        self._critic_back.run()
        self._owner.critic_adam.step(self._critic_back.gradients, learner.gradient_steps)

    def _step_actor(self, noise: FloatArray) -> None:
        """Descend temperature x log-density minus value (eq. 7 and 9) along reparameterised actions."""
        size, learner = self.size, self._learner
        actions = self.actions[:size]
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
        self._actor_back.run()
        self._owner.actor_adam.step(self._actor_back.gradients, learner.gradient_steps)
