"""The protocol of a learner. `tests/algorithms/test_learners.py` checks every member of the table."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sacpipe.networks.policy_file import Policy
from sacpipe.specs.records import Batch, FloatArray

Arrays = dict[str, NDArray[np.generic]]


class Learner(Protocol):
    """Owns networks, optimisers and its noise; returns numbers and logs nothing."""

    gradient_steps: int

    def act(self, observation: FloatArray, noise: FloatArray | None) -> FloatArray:
        """Return one action in [-1, 1].

        Args:
            observation: Raw. Shape (observation_dim,).
            noise: Standard normal, shape (action_dim,); None for the deterministic action.
        """
        ...

    def observe(self, observation: FloatArray) -> None:
        """Update the normaliser, if there is one, with one training observation."""
        ...

    def update(self, batch: Batch) -> None:
        """Make one gradient step of every network.

        Raises:
            DivergenceError: a value is not finite; the network it belongs to is left as it was.
        """
        ...

    def reference_update(self, batch: Batch) -> None:
        """Make the same step by autograd: the definition that `update` agrees with, to rounding."""
        ...

    def diagnostics(self) -> dict[str, float]:
        """Describe the last `update` (names in docs/metrics.md); costs nothing unless it is called.

        Raises:
            ValueError: there was no update yet.
        """
        ...

    def value(self, observation: FloatArray, action: FloatArray) -> float:
        """Return the value of an action: the minimum over critics, in task units of reward."""
        ...

    def policy(self) -> Policy:
        """Return the actor as it leaves training; it shares memory with the learner."""
        ...

    def state(self) -> Arrays:
        """Return everything an exact continuation needs, as copies."""
        ...

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`.

        Raises:
            CheckpointError: an array is missing, left over, or of another shape.
        """
        ...
