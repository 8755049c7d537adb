"""The update of SAC composed of kernels, for perceptrons; agrees with `SAC.update` to rounding."""

from sacpipe.algorithms.native_actor_critic import DISCOUNTS, REWARDS
from sacpipe.algorithms.native_soft_actor_critic import NativeSoftActorCritic
from sacpipe.algorithms.sac import SAC
from sacpipe.kernels.perceptron import Floats, Pass, padded


class NativeSAC(NativeSoftActorCritic):
    """Soft Actor-Critic by kernels."""

    learner: SAC

    def _compose_regression(self, following: Pass, present: Pass, size: int) -> Floats:
        """Add the regression to the soft one-step target (eq. 3 and 5)."""
        program, members, held = self._program, self.critic.stack.members, padded(size)
        errors, targets = self.memory.floats(members, held), self.memory.floats(members, held)
        self._values, self._targets = present.output, targets[0]  # every critic's rows get the same
        self._td_index = program.add(
            "td_error", values=present.output, next_values=following.output,
            next_log_probs=self._log_probs[held:], rewards=self.slots.array[REWARDS],
            discounts=self.slots.array[DISCOUNTS], errors=errors, targets=targets,
            numbers=self._td_numbers, members=members, rows=size, next_members=members,
        )  # fmt: skip
        self._weigh(program, errors, size)
        return errors

    def _value_gradient(self, share: float, size: int) -> Floats:
        gradient = self.memory.floats(self.critic.stack.members, padded(size))
        gradient[:, :size] = share
        return gradient
