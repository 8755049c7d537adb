"""The budget of a training: what the presets of params.yaml depend on besides the task's specification.

A section's model gives its values by a classmethod `preset(spec, budget) -> dict`. docs/decisions/0015.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Budget(NamedTuple):
    """Length of a training, and what is known to suit a family of tasks."""

    total_steps: int
    """Environment steps of the training."""
    min_return_mean: float | None = None
    """Lowest mean return of a release; None if no published result is known."""
    hidden_dim: int = 256
    """Units of each hidden layer."""
    learning_rate: float = 3.0e-4
    """Learning rate of every optimiser."""
    tuned: Mapping[str, Any] = MappingProxyType({})
    """Values of sections of params.yaml with which SAC learns the tasks, where it fails with its presets."""
    variant: str = ""
    """Name of the algorithm's variant, one of its `variants`; empty for the first."""
