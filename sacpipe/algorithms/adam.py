"""Adam over a fixed list of parameters, with its moments accessible to a checkpoint.

PyTorch's own fused kernels, without `torch.optim.Optimizer` around them: the wrapper costs half a millisecond
a step on a small machine. A test compares it with `torch.optim.Adam` and `AdamW`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

Repack = Callable[[Sequence[torch.Tensor]], tuple[list[torch.Tensor], list[torch.Tensor]]]
"""Copies tensors of a network into packed ones; returns these, and views of them in the old shapes."""


class ConstantSchedule(Config):
    """The same learning rate at every step."""

    name: Literal["constant"]

    def factor(self, _gradient_steps: int) -> float:
        """Return the factor of the learning rate."""
        return 1.0


class LinearSchedule(Config):
    """A learning rate that moves linearly to its last value, and stays there."""

    name: Literal["linear"]
    final: float = Field(ge=0)
    """Last learning rate as a share of the first."""
    steps: int = Field(ge=1)
    """Gradient steps to the last learning rate."""

    def factor(self, gradient_steps: int) -> float:
        """Return the factor of the learning rate at a gradient step, counted from 0."""
        return 1.0 + (self.final - 1.0) * min(1.0, gradient_steps / self.steps)


class AdamConfig(Config):
    """Adam optimiser, arXiv:1412.6980."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    """Decay of the running mean and of the running square of the gradient."""
    epsilon: float = Field(gt=0)
    """Number added to Adam's denominator; 1e-8 is PyTorch's, 1e-7 was Softlearning's."""
    weight_decay: float = Field(ge=0)
    """Share of network parameters taken off at a step, times the learning rate (arXiv:1711.05101)."""
    schedule: Annotated[ConstantSchedule | LinearSchedule, Field(discriminator="name")]
    """Learning rate by gradient step: `constant`, or `linear` with `final` and `steps`."""

    @classmethod
    def preset(cls, _spec: EnvSpec | None, _budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {
            "betas": [0.9, 0.999],
            "epsilon": 1.0e-8,
            "weight_decay": 0.0,
            "schedule": {"name": "constant"},
        }


def move_targets(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor], share: float) -> None:
    """Move each target a share of the way to its source, in place. Faster than a call for each tensor."""
    torch._foreach_lerp_(list(targets), list(sources), share)


class Adam:
    """Bias-corrected Adam (Kingma & Ba 2014, algorithm 1), with decoupled weight decay.

    Args:
        parameters: Changed in place.
        config: Everything but the learning rate.
        learning_rate: Before the schedule.
        decays: Whether the weight decay applies to these parameters.
    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        config: AdamConfig,
        learning_rate: float,
        *,
        decays: bool = True,
    ) -> None:
        self.config, self.learning_rate = config, learning_rate
        self.decay = config.weight_decay if decays else 0.0
        self._step = torch.zeros((), dtype=torch.float32)
        self._step_count = self._step.numpy()
        means = [torch.zeros_like(tensor, requires_grad=False) for tensor in parameters]
        self._set(list(parameters), means, [torch.zeros_like(tensor) for tensor in means])

    def _set(
        self, parameters: list[torch.Tensor], means: list[torch.Tensor], squares: list[torch.Tensor]
    ) -> None:
        self._parameters, self.means, self.squares = parameters, means, squares
        self._steps = [self._step] * len(parameters)

    @property
    def step_count(self) -> int:
        """Number of steps so far; the correction of the moments' bias is a function of it."""
        return int(self._step_count)

    def count_step(self) -> None:
        """Count a step that was made by other means, on the same parameters and moments."""
        self._step_count += 1.0

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor], gradient_steps: int) -> None:
        """Move every parameter one step against its gradient, in place.

        Args:
            gradients: One for each parameter.
            gradient_steps: Steps of the learner before this one; the schedule is a function of it.
        """
        self._step_count += 1.0
        kernel = torch._fused_adamw_ if self.decay else torch._fused_adam_
        kernel(
            self._parameters,
            list(gradients),
            self.means,
            self.squares,
            [],
            self._steps,
            lr=self.learning_rate * self.config.schedule.factor(gradient_steps),
            beta1=self.config.betas[0],
            beta2=self.config.betas[1],
            weight_decay=self.decay,
            eps=self.config.epsilon,
            amsgrad=False,
            maximize=False,
        )

    def repacked(self, packed: list[torch.Tensor], repack: Repack) -> "Adam":
        """Return an optimiser of packed parameters that shares this one's state.

        This one's moments become views of the packed moments.

        Args:
            packed: The parameters, packed by `repack` already.
            repack: Packs the moments in the same way.
        """
        means, self.means = repack(self.means)
        squares, self.squares = repack(self.squares)
        other = Adam([], self.config, self.learning_rate)
        other.decay, other._step, other._step_count = self.decay, self._step, self._step_count
        other._set(packed, means, squares)
        return other

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name every tensor of the state."""
        yield "step", self._step
        for index in range(len(self._parameters)):
            yield f"{index}/mean", self.means[index]
            yield f"{index}/square", self.squares[index]
