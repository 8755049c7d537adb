"""What updates of Soft Actor-Critic composed of kernels have in common: all but the critics' regression.

What they leave out of autograd's work: gradients of critics' weights in the policy's step; the backward pass
of a critic whose value is not the lowest of a row; a second evaluation of the policy, since it sees this
and the next observations as one batch.
"""

import math
from abc import abstractmethod
from typing import Literal, cast

import numpy as np

from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.native_actor_critic import (
    ACTIONS,
    CRITIC_OBSERVATIONS,
    NEXT_CRITIC_OBSERVATIONS,
    NUM_SLOTS,
    NativeActorCritic,
    Slots,
)
from sacpipe.algorithms.sac_metrics import LastUpdate
from sacpipe.algorithms.soft_actor_critic import (
    AutomaticTemperature,
    GaussianActorCriticConfig,
    SoftActorCritic,
)
from sacpipe.core.errors import DivergenceError
from sacpipe.kernels.elementary import exponential
from sacpipe.kernels.perceptron import Floats, Pass, padded, power
from sacpipe.kernels.program import Program
from sacpipe.specs.records import Batch, FloatArray


class NativeSoftActorCritic(NativeActorCritic):
    """A squashed Gaussian policy, stacked critics and a temperature; an algorithm adds the regression.

    Args:
        learner: By autograd.
        precision: Of the products' operands.
    """

    learner: SoftActorCritic

    def __init__(
        self, learner: SoftActorCritic, precision: Literal["float32", "bfloat16"] = "float32"
    ) -> None:
        self._config = cast("GaussianActorCriticConfig", learner.config)
        super().__init__(
            learner,
            policy_copy=None,
            critic_copy=learner.target_critic.network,
            optimisers=learner.optimisers,
            precision=precision,
        )

    def _compose(self, batch_size: int) -> None:
        """Compose: policy at both observations, critics and targets, critics' step, policy's step."""
        size, held, memory, action_dim = batch_size, padded(batch_size), self.memory, self.spec.action_dim
        self.slots, self._program = Slots(NUM_SLOTS), Program()
        self._key = memory.zeros(2, dtype=np.uint32)
        self._bounds = memory.floats(2)
        self._bounds[:] = self._config.log_std_min, self._config.log_std_max
        self._td_numbers, self._weight = memory.floats(2), memory.floats(1)
        self.noise = memory.floats(2 * held, action_dim)
        """Standard normal numbers of the last update: for this observation's actions, then the next's."""
        self._actions = memory.floats(2 * held, action_dim)
        self._log_probs, self._entropy = memory.floats(2 * held), memory.floats(1)
        self._log_stds, self._stds = memory.floats(2 * held, action_dim), memory.floats(2 * held, action_dim)
        self._inside = memory.floats(2 * held, action_dim)
        policy = self._compose_policy(size)
        critics = self._compose_critics(size)
        self._compose_actor_step(policy, critics, size)
        self._program.add("mean", values=self._log_probs, output=self._entropy, count=size)

    def _compose_policy(self, size: int) -> Pass:
        """Add the policy's draws at this observation, rows [0, B), and at the next, below."""
        program, held, stack = self._program, padded(size), self.actor.stack
        inputs = stack.inputs(2 * held)
        self._pack(program, self.slots.array[:2], inputs, size, group="policy", actions=None)
        program.add("noise", key=self._key, output=self.noise, rows=2 * held, columns=self.spec.action_dim)
        done = stack.forward(program, inputs, 2 * held)
        program.add(
            "squashed_sample", output=done.output, noise=self.noise, actions=self._actions,
            log_probs=self._log_probs, log_stds=self._log_stds, stds=self._stds,
            inside=self._inside, bounds=self._bounds, rows=2 * held,
            columns=self.spec.action_dim, width=done.output.shape[3],
        )  # fmt: skip
        return done

    def _compose_critics(self, size: int) -> Pass:
        """Add the critics' evaluations, their regression and their step; return that of the new actions."""
        program, stack = self._program, self.critic.stack
        inputs, columns = stack.inputs(size, parts=3), self.spec.action_dim
        first = self.learner.critic_inputs.group.vector_dim
        both = self.slots.array[CRITIC_OBSERVATIONS : NEXT_CRITIC_OBSERVATIONS + 1]
        self._pack(program, both, inputs[:2], size, group="critic", actions=None)
        program.add(
            "place", values=self._actions, output=inputs[:2], parts=2, rows=size, columns=columns,
            features=stack.dims[0], at=first,
        )  # fmt: skip
        self._pack(program, both[:1], inputs[2:], size, group="critic", actions=ACTIONS)
        following = stack.forward(program, inputs[1:2], size, slow=True)
        present = stack.forward(program, inputs[2:], size)
        errors = self._compose_regression(following, present, size)
        deltas = stack.backward(program, present, errors)
        stack.step(program, present, deltas, errors, self.critic.numbers, size)
        self._turned = stack.turn_columns(program, first, columns)
        return stack.forward(program, inputs[:1], size, has_step=False)

    @abstractmethod
    def _compose_regression(self, following: Pass, present: Pass, size: int) -> Floats:
        """Add the critics' targets and losses; return the gradient at the critics' output.

        It sets `_values`, those of the batch, shape (num_critics, padded rows), `_targets`, shape
        (padded rows,), and `_td_index`, the kernel that refuses a difference of both that is not finite.

        Args:
            following: The slow copies at the next observations and the policy's draws there.
            present: The critics at the batch.
            size: Of the batch.
        """

    _values: Floats
    _targets: Floats
    _td_index: int

    @abstractmethod
    def _value_gradient(self, share: float, size: int) -> Floats:
        """Return the gradient at the critics' output of `share` times the sum of all values of the batch."""

    def _compose_actor_step(self, policy: Pass, critics: Pass, size: int) -> None:
        """Add the policy's descent of temperature x log-density minus value (eq. 7 and 9)."""
        program, stack, held, columns = self._program, self.critic.stack, padded(size), self.spec.action_dim
        self._new_values = values = self._add_values(program, critics)
        self._values_index = program.add("check", values=values, members=stack.members, rows=size)
        self._density_index = program.add("check", values=self._log_probs, members=1, rows=size)
        lists = counts = owners = places = None
        is_min = self._config.actor_q == "min"
        if is_min:
            lists, counts = self.memory.integers(stack.members, held), self.memory.integers(stack.members)
            owners, places = self.memory.integers(held), self.memory.integers(held)
            program.add(
                "lowest", values=values, lists=lists, counts=counts, owners=owners, places=places,
                members=stack.members, rows=size,
            )  # fmt: skip
        pulls = self._value_gradient(-1.0 / size if is_min else -1.0 / (size * stack.members), size)
        deltas = stack.backward(program, critics, pulls, lists=lists, counts=counts)
        gradients = stack.backward_to_columns(program, deltas, self._turned, size, lists=lists, counts=counts)
        actor = self.actor.stack
        delta = self.memory.floats(1, policy.output.shape[1], held, policy.output.shape[3])
        program.add(
            "squash_back", gradients=gradients, owners=owners, places=places, actions=self._actions[:held],
            stds=self._stds[:held], noise=self.noise[:held], inside=self._inside[:held], output=delta,
            weight=self._weight, members=stack.members, rows=size, columns=columns,
            gradient_width=gradients.shape[3], width=delta.shape[3],
        )  # fmt: skip
        actor_deltas = actor.backward(program, policy, delta, rows=size)
        actor.step(program, policy, actor_deltas, delta, self.actor.numbers, size)

    def _run(self, batch: Batch) -> None:
        learner, config = self.learner, self._config
        steps, size = learner.gradient_steps, self._batch_size
        self._temperature = exponential(learner.log_temperature.detach().numpy())
        is_due = (steps + 1) % config.target_update_interval == 0
        self.critic.prepare(steps, config.tau if is_due else 0.0)
        self.actor.prepare(steps, 0.0)
        self._td_numbers[:] = self._temperature, 1.0 / size
        self._weight[0] = self._temperature / np.float32(size)
        self._key[:] = learner.draw_key()
        self._set_batch(batch)
        refused = self._program.run()
        if refused:
            self._refuse(refused)
        self.critic.adam.count_step()
        self.actor.adam.count_step()
        self._step_temperature()
        learner.gradient_steps += 1
        learner.last = self._last_update()

    def _refuse(self, index: int) -> None:
        """Raise the error of a value that is not finite."""
        size, step = self._batch_size, self.learner.gradient_steps + 1
        if index == self._td_index:
            errors = self._values[:, :size] - self._targets[:size]
            refuse_non_finite("critic error (value minus target)", np.ascontiguousarray(errors), step)
        self.critic.adam.count_step()  # the critics' step was made
        if index == self._values_index:
            refuse_non_finite("value of a new action", np.ascontiguousarray(self._new_values[:, :size]), step)
        refuse_non_finite("log-density of a new action", self._log_probs[:size], step)
        raise DivergenceError(f"a value is not finite at gradient step {step}.")

    def td_errors(self) -> FloatArray:
        """Return the absolute TD errors of the last update; see `LearnerWithErrors`."""
        return self.learner.td_errors()

    def _step_temperature(self) -> None:
        """Descend eq. 18 by one step of Adam."""
        learner, rule = self.learner, self._config.temperature
        if not isinstance(rule, AutomaticTemperature):
            return
        gradient = -(self._entropy[0] + np.float32(rule.target_entropy(self.spec.action_dim)))
        if rule.objective == "temperature":
            gradient *= self._temperature
        adam = learner.optimisers["temperature"]
        mean, square = adam.means[0].numpy(), adam.squares[0].numpy()
        first, second = (np.float32(beta) for beta in adam.config.betas)
        one, step = np.float32(1.0), adam.step_count + 1
        mean += (one - first) * (gradient - mean)
        square[...] = second * square + (one - second) * gradient * gradient
        rate = adam.learning_rate * adam.config.schedule.factor(learner.gradient_steps)
        size = np.float32(rate / (1.0 - power(adam.config.betas[0], step)))
        scale = np.float32(math.sqrt(1.0 - power(adam.config.betas[1], step)))
        learner.log_temperature.detach().numpy()[...] -= (
            size * mean / (np.sqrt(square) / scale + np.float32(adam.config.epsilon))
        )
        adam.count_step()

    def _last_update(self) -> LastUpdate:
        size = self._batch_size
        return LastUpdate(
            self._values[:, :size],
            self._targets[:size],
            self._new_values[:, :size],
            self._log_probs[:size],
            self._log_stds[:size],
            self._actions[:size],
            float(self._temperature),
            self.critic.stack.gradient_norm,
            self.actor.stack.gradient_norm,
        )
