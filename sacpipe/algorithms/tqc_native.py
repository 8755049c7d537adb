"""The update of TQC composed of kernels, for perceptrons; agrees with `TQC.update` to rounding.

A critic's last layer has its quantiles as outputs. Their gradient needs no array of pairs of quantiles and
targets: csrc/quantiles.cpp adds up the pairs of a quantile in registers.
"""

from typing import ClassVar, Literal

import numpy as np

from sacpipe.algorithms.native_actor_critic import DISCOUNTS, REWARDS, WEIGHTS
from sacpipe.algorithms.native_soft_actor_critic import NativeSoftActorCritic
from sacpipe.algorithms.tqc import TQC
from sacpipe.core.errors import ConfigError
from sacpipe.kernels.perceptron import Floats, Pass, padded
from sacpipe.kernels.program import Program
from sacpipe.specs.records import Batch

_MAX_QUANTILES = 1 << 16
"""Of all critics: what the memory of a thread has room for, csrc/quantiles.cpp."""


class NativeTQC(NativeSoftActorCritic):
    """Truncated Quantile Critics by kernels.

    Raises:
        ConfigError: the critics have more than 65,536 quantiles together; see `NativeNetwork` too.
    """

    learner: TQC
    has_value_outputs: ClassVar[bool] = False

    def __init__(self, learner: TQC, precision: Literal["float32", "bfloat16"] = "float32") -> None:
        config = learner.config
        total = config.num_critics * config.num_quantiles
        if total > _MAX_QUANTILES:
            raise ConfigError(
                f"algorithm.num_quantiles: 'native' takes at most {_MAX_QUANTILES} of all critics together, "
                f"found {config.num_critics} x {config.num_quantiles}. "
                "Use `engine: {name: autograd, num_threads: 1}`."
            )
        self._kept = total - config.num_critics * config.dropped_quantiles
        super().__init__(learner, precision)

    def _add_values(self, program: Program, done: Pass) -> Floats:
        """Add the means of a critic's quantiles."""
        values = self.memory.floats(len(done.output), padded(done.rows))
        program.add("quantile_mean", quantiles=done.output, values=values, **self._sizes(done))
        return values

    def _sizes(self, done: Pass) -> dict[str, int]:
        count = self.learner.config.num_quantiles
        return {
            "members": len(done.output), "rows": done.rows, "count": count, "width": done.output.shape[3],
        }  # fmt: skip

    def _compose_regression(self, following: Pass, present: Pass, size: int) -> Floats:
        """Add the quantile regression to the truncated target, section 3."""
        program, memory, held, kept = self._program, self.memory, padded(size), self._kept
        atoms, self._targets = memory.floats(held, kept), memory.floats(held)
        program.add(
            "truncated_target", quantiles=following.output, log_probs=self._log_probs[held:],
            rewards=self.slots.array[REWARDS], discounts=self.slots.array[DISCOUNTS], atoms=atoms,
            targets=self._targets, numbers=self._td_numbers, kept=kept, **self._sizes(following),
        )  # fmt: skip
        self._values = self._add_values(program, present)
        gradients, self._row_losses = memory.floats(*present.output.shape), memory.floats(*self._values.shape)
        self._td_index = program.add(
            "quantile_huber", quantiles=present.output, values=self._values, atoms=atoms,
            targets=self._targets, weights=self.slots.array[WEIGHTS] if self.has_weights else None,
            fractions=self._fractions(present.output), gradients=gradients, losses=self._row_losses,
            kept=kept, **self._sizes(present),
        )  # fmt: skip
        return gradients

    def _fractions(self, output: Floats) -> Floats:
        """Return 1 - tau and tau of every quantile, as wide as the panels, with zeros beyond the last."""
        count = self.learner.config.num_quantiles
        fractions = self.memory.floats(2, output.shape[1] * output.shape[3])
        tau = (np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count)
        fractions[0, :count], fractions[1, :count] = np.float32(1.0) - tau, tau
        return fractions

    def _value_gradient(self, share: float, size: int) -> Floats:
        """Return panels: each quantile has an equal part of the gradient of its critic's value."""
        count, layer = self.learner.config.num_quantiles, self.critic.stack.layers[-1]
        gradient = self.memory.floats(layer.members, layer.panels, padded(size), layer.width)
        is_quantile = np.arange(layer.panels * layer.width).reshape(layer.panels, 1, layer.width) < count
        gradient[:, :, :size] = np.where(is_quantile, share / count, 0.0)
        return gradient

    def _run(self, batch: Batch) -> None:
        super()._run(batch)
        self.learner.row_losses = self._row_losses[:, : self._batch_size]
