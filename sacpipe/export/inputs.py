"""Inputs of a policy: observations and noise, recorded or made up for the parity check."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sacpipe.core.seeding import generator
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_RANDOM_SCALES = (0.1, 1.0, 10.0, 100.0)
_RANDOM_ROWS = 64
_BOUNDARY_SIZES = (1.0, 1e3, 1e6, 1e-6, 1e-38, 1e-45)
_WHITE = 255


@dataclass(frozen=True, eq=False)
class PolicyInputs:
    """N observations of the policy's terms."""

    observations: Observation
    noise: FloatArray | None
    """Shape (N, noise_dim); None for a deterministic policy."""

    def __len__(self) -> int:
        return len(self.observations.vector)

    def row(self, row: int) -> "PolicyInputs":
        """Return one of the observations, as a batch of one."""
        place = slice(row, row + 1)
        return PolicyInputs(self.observations.rows(place), None if self.noise is None else self.noise[place])

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Return the arrays for onnxruntime, by input name."""
        arrays = dict(self.observations)
        if self.noise is not None:
            arrays["noise"] = self.noise
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return the arguments of the network: one tensor a term, then the noise."""
        return tuple(torch.from_numpy(array) for array in self.feeds().values())


def noise_dim_of(module: torch.nn.Module) -> int | None:
    """Return the length of a network's last argument `noise`; None for a deterministic policy."""
    found = getattr(module, "noise_dim", None)
    return found if isinstance(found, int) else None


def recorded_inputs(observations: Observation, noise_dim: int | None) -> PolicyInputs:
    """Return recorded observations with noise, always the same."""
    return PolicyInputs(observations, _noise(len(observations.vector), noise_dim, "golden noise"))


def synthetic_inputs(spec: EnvSpec, noise_dim: int | None) -> dict[str, PolicyInputs]:
    """Return the synthetic inputs by kind, always the same ones.

    Images are random, black and white. Noise is always drawn.
    """
    draws = generator(0, "parity").standard_normal((_RANDOM_ROWS, spec.observation_dim))
    ones = np.ones((1, spec.observation_dim))
    kinds = {
        f"random (scale {scale:g})": _inputs(spec, noise_dim, scale * draws, None) for scale in _RANDOM_SCALES
    }
    kinds["zero"] = _inputs(spec, noise_dim, 0.0 * ones, [0])
    for size in _BOUNDARY_SIZES:
        rows = np.concatenate([size * ones, -size * ones])
        kinds[f"boundary (+-{size:g})"] = _inputs(spec, noise_dim, rows, [_WHITE, 0])
    return kinds


def extreme_inputs(spec: EnvSpec, noise_dim: int | None) -> PolicyInputs:
    """Return the highest and lowest float32, in all entries and alternating, with black and white images."""
    ones, alternating = (
        np.ones(spec.observation_dim),
        np.where(np.arange(spec.observation_dim) % 2, 1.0, -1.0),
    )
    signs = np.stack([ones, -ones, alternating, -alternating])
    rows = signs.astype(np.float32) * np.finfo(np.float32).max
    return _inputs(spec, noise_dim, rows, [_WHITE, 0, _WHITE, 0])


def _inputs(
    spec: EnvSpec, noise_dim: int | None, rows: NDArray[Any], greys: list[int] | None
) -> PolicyInputs:
    """Return inputs of packed rows with images of one grey a row, or random ones if `greys` is None."""
    draws = generator(0, "parity images")
    images: dict[str, NDArray[np.uint8]] = {}
    for term in spec.layout.image_terms:
        shape = (len(rows), *term.shape)
        if greys is None:
            images[term.name] = draws.integers(0, 256, shape, np.uint8)
        else:
            images[term.name] = np.empty(shape, np.uint8)
            images[term.name][:] = np.reshape(greys, (-1, 1, 1, 1))
    observations = Observation(spec.layout, rows.astype(np.float32), images)
    return PolicyInputs(observations, _noise(len(rows), noise_dim, "parity noise"))


def _noise(num: int, noise_dim: int | None, stream: str) -> FloatArray | None:
    if noise_dim is None:
        return None
    return generator(0, stream).standard_normal((num, noise_dim), np.float32)
