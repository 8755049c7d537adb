"""The update of TD3 composed of kernels, for perceptrons; agrees with `TD3.update` to rounding.

One program has the critics' step, another the policy's, which runs every `policy_delay` updates. The slow
copies of the critics move within the critics' step, that of the policy within the policy's.
"""

from typing import Literal

import numpy as np

from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.native_actor_critic import (
    ACTIONS,
    CRITIC_OBSERVATIONS,
    DISCOUNTS,
    NEXT_CRITIC_OBSERVATIONS,
    NEXT_OBSERVATIONS,
    NUM_SLOTS,
    OBSERVATIONS,
    REWARDS,
    NativeActorCritic,
    Slots,
)
from sacpipe.algorithms.td3 import TD3, LastUpdate
from sacpipe.core.errors import DivergenceError
from sacpipe.kernels.perceptron import Floats, Pass, padded
from sacpipe.kernels.program import Program
from sacpipe.specs.records import Batch, FloatArray


class NativeTD3(NativeActorCritic):
    """Twin Delayed Deep Deterministic policy gradient by kernels."""

    learner: TD3

    def __init__(self, learner: TD3, precision: Literal["float32", "bfloat16"] = "float32") -> None:
        self._config = learner.config
        super().__init__(
            learner,
            policy_copy=learner.target_actor,
            critic_copy=learner.target_critic.network,
            optimisers=learner.optimisers,
            precision=precision,
        )

    def _compose(self, batch_size: int) -> None:
        held, memory, action_dim = padded(batch_size), self.memory, self.spec.action_dim
        self.slots = Slots(NUM_SLOTS)
        self._key = memory.zeros(2, dtype=np.uint32)
        self._smoothing = memory.floats(2)
        self._smoothing[:] = self._config.target_noise, self._config.target_noise_clip
        self._td_numbers, self._weight = memory.floats(2), memory.floats(1)
        self._td_numbers[1] = 2.0 / batch_size  # the loss is a mean of squares, without a half
        self.noise = memory.floats(held, action_dim)
        """Standard normal numbers of the last update, for the targets' actions."""
        self._next_actions, self._actions = memory.floats(held, action_dim), memory.floats(held, action_dim)
        self._compose_critic_step(batch_size)
        self._compose_actor_step(batch_size)

    def _actions_of(self, program: Program, slot: int, actions: Floats, size: int, *, smooth: bool) -> Pass:
        """Add the policy's actions at one slot's observations; with noise, those of its slow copy."""
        stack = self.actor.stack
        inputs = stack.inputs(size)
        self._pack(program, self.slots.array[slot : slot + 1], inputs, size, group="policy", actions=None)
        done = stack.forward(program, inputs, size, slow=smooth)
        program.add(
            "bounded_action", output=done.output, noise=self.noise if smooth else None, actions=actions,
            smoothing=self._smoothing, rows=padded(size), columns=self.spec.action_dim,
            width=done.output.shape[3],
        )  # fmt: skip
        return done

    def _pairs_of(self, program: Program, slot: int, actions: Floats, size: int) -> Floats:
        """Add the critics' inputs: one slot's observations with the policy's actions."""
        stack = self.critic.stack
        inputs = stack.inputs(size)
        self._pack(program, self.slots.array[slot : slot + 1], inputs, size, group="critic", actions=None)
        program.add(
            "place", values=actions, output=inputs, parts=1, rows=size, columns=self.spec.action_dim,
            features=stack.dims[0], at=self.learner.critic_inputs.group.vector_dim,
        )  # fmt: skip
        return inputs

    def _compose_critic_step(self, size: int) -> None:
        """Add the critics' regression to r + discount min Q'(s', a'), eq. 10 and 14."""
        program, stack, held = Program(), self.critic.stack, padded(size)
        program.add("noise", key=self._key, output=self.noise, rows=held, columns=self.spec.action_dim)
        self._actions_of(program, NEXT_OBSERVATIONS, self._next_actions, size, smooth=True)
        next_inputs = self._pairs_of(program, NEXT_CRITIC_OBSERVATIONS, self._next_actions, size)
        inputs, seen = stack.inputs(size), self.slots.array[CRITIC_OBSERVATIONS : CRITIC_OBSERVATIONS + 1]
        self._pack(program, seen, inputs, size, group="critic", actions=ACTIONS)
        following = stack.forward(program, next_inputs, size, slow=True)
        present = stack.forward(program, inputs, size)
        self._values = present.output
        self._errors, targets = (
            self.memory.floats(stack.members, held),
            self.memory.floats(stack.members, held),
        )
        self._targets = targets[0]  # every critic's rows get the same
        program.add(
            "td_error", values=present.output, next_values=following.output, next_log_probs=None,
            rewards=self.slots.array[REWARDS], discounts=self.slots.array[DISCOUNTS], errors=self._errors,
            targets=targets, numbers=self._td_numbers, members=stack.members, rows=size,
            next_members=stack.members,
        )  # fmt: skip
        self._weigh(program, self._errors, size)
        deltas = stack.backward(program, present, self._errors)
        stack.step(program, present, deltas, self._errors, self.critic.numbers, size)
        self._critic_program = program

    def _compose_actor_step(self, size: int) -> None:
        """Add the policy's ascent of the first critic's value of its actions."""
        program, critic, actor = Program(), self.critic.stack.first(), self.actor.stack
        held, columns = padded(size), self.spec.action_dim
        policy = self._actions_of(program, OBSERVATIONS, self._actions, size, smooth=False)
        values = critic.forward(
            program, self._pairs_of(program, CRITIC_OBSERVATIONS, self._actions, size), size
        )
        self._new_values = values.output
        program.add("check", values=values.output, members=1, rows=size)
        pulls = self.memory.floats(1, held)
        pulls[:, :size] = -1.0 / size
        turned = critic.turn_columns(program, self.learner.critic_inputs.group.vector_dim, columns)
        deltas = critic.backward(program, values, pulls)
        gradients = critic.backward_to_columns(program, deltas, turned, size)
        delta = self.memory.floats(*policy.output.shape)
        program.add(
            "squash_back", gradients=gradients, owners=None, places=None, actions=self._actions, stds=None,
            noise=None, inside=None, output=delta, weight=self._weight, members=1, rows=size, columns=columns,
            gradient_width=gradients.shape[3], width=delta.shape[3],
        )  # fmt: skip
        actor.step(program, policy, actor.backward(program, policy, delta), delta, self.actor.numbers, size)
        self._actor_program = program

    def _run(self, batch: Batch) -> None:
        learner, config, size = self.learner, self._config, self._batch_size
        steps = learner.gradient_steps
        is_due = (steps + 1) % config.policy_delay == 0
        self.critic.prepare(steps, config.tau if is_due else 0.0)
        self._key[:] = learner.draw_key()
        self._set_batch(batch)
        if self._critic_program.run():
            errors = np.ascontiguousarray(self._values[:, :size] - self._targets[:size])
            self._refuse("critic error (value minus target)", errors, steps + 1)
        self.critic.adam.count_step()
        learner.gradient_steps += 1
        if is_due:
            self.actor.prepare(steps, config.tau)
            if self._actor_program.run():
                self._refuse("value of the policy's action", self._new_values[0, :size], steps + 1)
            self.actor.adam.count_step()
        learner.last = LastUpdate(
            self._values[:, :size],
            self._targets[:size],
            self.critic.stack.gradient_norm,
            self._new_values[0, :size] if is_due else None,
            self._actions[:size] if is_due else None,
        )

    def td_errors(self) -> FloatArray:
        """Return the absolute TD errors of the last update; see `LearnerWithErrors`."""
        return self.learner.td_errors()

    def _refuse(self, term: str, values: Floats, step: int) -> None:
        """Raise the error of a value that is not finite."""
        refuse_non_finite(term, values, step)
        raise DivergenceError(f"{term} is not finite at gradient step {step}.")
