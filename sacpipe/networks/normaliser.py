"""Running mean and variance of observations, stored in checkpoints and exported inside the ONNX graph."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sacpipe.core.errors import ConfigError
from sacpipe.networks.inputs import GroupInputs
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft

_MIN_VARIANCE = 1e-8
MAX_DEVIATION = 10.0
"""Bound of normalised observations, in standard deviations."""


class Normaliser(nn.Module):
    """Shifts and scales observations to zero mean and unit variance, clipped at ten deviations.

    A new normaliser is the identity. Statistics are float64, so that ten million steps lose no precision;
    the networks receive float32.

    Args:
        mask: True at the entries that are normalised; the others pass unchanged. Shape (dim,).
    """

    count: torch.Tensor
    """Number of observations so far. float64, shape ()."""
    running_mean: torch.Tensor
    """Mean of the observations. float64, shape (dim,)."""
    squared_deviations: torch.Tensor
    """Sum of squared deviations from the mean. float64, shape (dim,)."""
    mean: torch.Tensor
    """The running mean as float32. Shape (dim,)."""
    scale: torch.Tensor
    """One over the standard deviation, as float32. Shape (dim,)."""
    chosen: torch.Tensor
    """1 at the entries that are normalised, else 0. Shape (dim,)."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        super().__init__()
        dim = len(mask)
        self._is_whole = bool(mask.all())
        self.register_buffer("chosen", torch.from_numpy(mask).float(), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("running_mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("squared_deviations", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def observe(self, observation: FloatArray) -> None:
        """Add one observation to the statistics (Welford's update). Shape (dim,).

        References:
            Welford 1962, Technometrics 4(3).
        """
        value = torch.from_numpy(observation.astype(np.float64))
        self.count += 1
        before = value - self.running_mean
        self.running_mean += before / self.count
        self.squared_deviations += before * (value - self.running_mean)
        self.mean.copy_(self.running_mean)
        if self.count > 1:
            variance = (self.squared_deviations / self.count).clamp(min=_MIN_VARIANCE)
            self.scale.copy_(variance.rsqrt())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Normalise observations. Shape (B, dim)."""
        scaled = ((observations - self.mean) * self.scale).clamp(-MAX_DEVIATION, MAX_DEVIATION)
        return scaled if self._is_whole else self.chosen * scaled + (1.0 - self.chosen) * observations

    def describe(self, graph: "GraphDraft", observations: str) -> str:
        """Write `forward` down, and return the name of the normalised observations."""
        mean, scale = self.mean.numpy(), self.scale.numpy()
        centred = graph.add("Sub", (observations, graph.constant("mean", mean)), "centred")
        scaled = graph.add("Mul", (centred, graph.constant("scale", scale)), "scaled")
        bounds = [
            graph.constant(name, value)
            for name, value in (("lowest", -MAX_DEVIATION), ("highest", MAX_DEVIATION))
        ]
        clipped = graph.add("Clip", (scaled, *bounds), "clipped")
        if self._is_whole:
            return clipped
        chosen = self.chosen.numpy()
        taken = graph.add("Mul", (graph.constant("chosen", chosen), clipped), "taken")
        others = graph.add("Mul", (graph.constant("unchosen", 1.0 - chosen), observations), "others")
        return graph.add("Add", (taken, others), "normalised")


def normalised_names(spec: EnvSpec, choice: bool | tuple[str, ...]) -> tuple[str, ...]:
    """Return the float32 terms that a params value `normalise_observations` names, in the order of the task.

    Args:
        spec: Of the task.
        choice: True for all, False for none, or names.

    Raises:
        ConfigError: the task has no float32 term of that name.
    """
    names = [term.name for term in spec.observation if term.dtype == "float32"]
    if isinstance(choice, bool):
        return tuple(names) if choice else ()
    for name in choice:
        if name not in names:
            raise ConfigError(
                f"algorithm.normalise_observations: expected float32 terms of {spec.task} "
                f"({', '.join(names) or 'it has none'}), found '{name}'. Correct the name."
            )
    return tuple(name for name in names if name in choice)


def seen_by_policy(spec: EnvSpec, names: tuple[str, ...]) -> list[str]:
    """Return those of some terms that the policy sees, in the same order."""
    seen = {term.name for term in spec.policy_spec.observation}
    return [name for name in names if name in seen]


def make_normaliser(inputs: GroupInputs, names: tuple[str, ...]) -> Normaliser | None:
    """Return the normaliser of a group's vector, or None if the group has none of the named terms."""
    mask = [np.full(term.size, term.name in names) for term in inputs.vector_terms]
    chosen = np.concatenate([*mask, np.zeros(0, dtype=np.bool_)])
    return Normaliser(chosen) if chosen.any() else None
