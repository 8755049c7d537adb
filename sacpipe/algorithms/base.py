"""What every learner promises. `tests/algorithms/test_learners.py` holds each member of the table to it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.records import Batch, FloatArray
from sacpipe.networks.policy_file import Policy

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
        """Take one training observation into the normaliser, where there is one."""
        ...

    def update(self, batch: Batch) -> dict[str, float]:
        """Make one gradient step of every network and return its metrics (names in docs/metrics.md).

        Raises:
            DivergenceError: a loss is not finite; its own network is left as it was.
        """
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
