"""Prioritised draws (Schaul et al. 2016, arXiv:1511.05952, the proportional variant).

A transition is drawn with a probability proportional to (|TD error| + epsilon) ** alpha, and the loss of its
row is weighed by a power of one over that probability (section 3.4). A new transition has the highest
priority so far (algorithm 1), so that it is drawn soon.
"""

import dataclasses
import math
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.errors import CheckpointError
from sacpipe.replay.samplers.base import Arrays, Gathering, Sampler, SamplerConfig
from sacpipe.replay.view import BufferView
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch, FloatArray


class PrioritisedConfig(SamplerConfig):
    """Draws in proportion to a power of the last TD error."""

    name: Literal["prioritised"]
    """Name of the sampler."""
    alpha: float = Field(ge=0, le=1)
    """Exponent of the priorities: 0 draws all equally often, 1 in proportion to their TD errors."""
    beta: float = Field(ge=0, le=1)
    """Exponent of the importance weights at first: 0 for none, 1 corrects for the draws completely."""
    beta_steps: int | None = Field(ge=1)
    """Gradient steps over which beta rises linearly to 1; null keeps it."""
    epsilon: float = Field(gt=0)
    """Added to every absolute TD error, in units of reward, so that none has the probability 0."""

    @classmethod
    def preset(cls, _spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the paper's exponents of the proportional variant, with beta at 1 at the end of the run."""
        return {"alpha": 0.6, "beta": 0.4, "beta_steps": budget.total_steps, "epsilon": 1e-6}

    def buffer_bytes(self, capacity: int) -> int:
        """Return the bytes of the tree, and of the copy of the priorities that a checkpoint encodes."""
        return tree_bytes(capacity) + 2 * 8 * capacity

    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        """Return a sampler for one buffer."""
        return Prioritised(self, spec, discount)

    @classmethod
    def example(cls) -> Self:
        """Return the paper's exponents."""
        return cls(name="prioritised", alpha=0.6, beta=0.4, beta_steps=100, epsilon=1e-6)


class Prioritised(Gathering):
    """Draws one row from each of n equal parts of the sum of all priorities (appendix B.2.1).

    Args:
        config: Exponents.
        spec: Task of the transitions.
        discount: Discount per step.
    """

    def __init__(self, config: PrioritisedConfig, spec: EnvSpec, discount: float) -> None:
        super().__init__(spec, discount)
        self._config = config
        self._tree = SumTree(0)
        self._highest = 1.0
        self._seen = self._batches = 0

    def __call__(self, view: BufferView, generator: np.random.Generator, n: int) -> Batch:
        """Draw a batch."""
        self._fit(n)
        self._see(view)
        parts = (np.arange(n) + generator.random(n)) / n
        self._rows = self._tree.find(parts * self._tree.total)
        view.gather(self._rows, out=self._gathered)
        self._set_discounts()
        self._weights[:] = self._compute_weights()
        self._batches += 1
        return self._batch

    def receive(self, td_errors: FloatArray) -> None:
        """Set the priorities of the last batch's transitions."""
        alpha, epsilon = self._config.alpha, self._config.epsilon
        # Python's power has the same bits on every processor, unlike NumPy's.
        found = [math.pow(error + epsilon, alpha) for error in td_errors.tolist()]
        self._highest = max(self._highest, *found)
        self._tree.put(self._rows, np.array(found))

    def state(self) -> Arrays:
        """Return priorities of the rows seen, the highest so far, and counts, as copies."""
        return {
            "priorities": self._tree.values[: self._seen].copy(),
            "highest": np.array(self._highest),
            "counts": np.array([self._seen, self._batches]),
        }

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`; see `StatefulSampler.load_state`."""
        expected = {name: array.shape for name, array in Prioritised.state(self).items()}
        found = {name: array.shape for name, array in state.items()}
        rows = found.get("priorities", ())
        if len(rows) != 1 or found != expected | {"priorities": rows}:
            raise CheckpointError(f"sampler 'prioritised': expected arrays as {expected}, found {found}.")
        self._tree = SumTree(rows[0])
        self._tree.put(np.arange(rows[0]), state["priorities"].astype(np.float64))
        self._highest = float(state["highest"])
        self._seen, self._batches = state["counts"].astype(np.int64).tolist()

    def _see(self, view: BufferView) -> None:
        """Give the highest priority to transitions that are new since the last batch."""
        if self._tree.capacity != view.capacity:
            known, self._tree = self._tree.values, SumTree(view.capacity)
            self._tree.put(np.arange(len(known)), known)
        oldest = view.added - len(view)
        rows = view.rows(np.arange(max(self._seen, oldest), view.added))
        self._tree.put(rows, np.full(len(rows), self._highest))
        self._seen = view.added

    def _compute_weights(self) -> list[float]:
        """Return (N P) ** -beta of the last batch's rows, over the greatest of them.

        Number and sum cancel out, so that it is (least priority of the batch / priority) ** beta.
        """
        config, priorities = self._config, self._tree.values[self._rows]
        done = 0.0 if config.beta_steps is None else min(1.0, self._batches / config.beta_steps)
        beta = config.beta + (1.0 - config.beta) * done
        return [math.pow(ratio, beta) for ratio in (priorities.min() / priorities).tolist()]

    def _make(self, n: int) -> None:
        super()._make(n)
        self._rows = np.zeros(n, dtype=np.int64)
        self._weights = np.ones(n, dtype=np.float32)
        self._batch = dataclasses.replace(self._batch, weights=self._weights)


Places = NDArray[np.int64]
Values = NDArray[np.float64]


def tree_bytes(capacity: int) -> int:
    """Return the memory of a tree with so many places, in bytes: 16 to 32 for each."""
    return 16 << _depth(capacity)


def _depth(capacity: int) -> int:
    return max(0, capacity - 1).bit_length()


class SumTree:
    """Values of places, all 0 at first, and sums of them.

    Every sum is that of its two parts, left plus right. So the sums depend on the values alone, whatever was
    written in which order, and a tree that is built anew from its values is the same.

    Args:
        capacity: Number of places.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._depth = _depth(capacity)
        self._first = 1 << self._depth
        # Node 1 is the sum of all; nodes 2 k and 2 k + 1 are the parts of node k; then come the places.
        self._sums = np.zeros(2 * self._first)

    @property
    def values(self) -> Values:
        """The places' values, as a view that is not to be written. Shape (capacity,)."""
        return self._sums[self._first : self._first + self.capacity]

    @property
    def total(self) -> float:
        """Sum of all values."""
        return float(self._sums[1])

    def put(self, places: Places, values: Values) -> None:
        """Set values, at least 0. Of a place that is there twice, the last one counts."""
        nodes = places + self._first
        self._sums[nodes] = values
        for _ in range(self._depth):
            nodes >>= 1
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def find(self, targets: Values) -> Places:
        """Return for each target the place where the running sum of the values first exceeds it.

        No place whose value is 0 is returned, whatever rounding does.

        Args:
            targets: From 0 to `total`, which is above 0. Shape (n,).
        """
        nodes, rest = np.ones(len(targets), dtype=np.int64), targets.copy()
        for _ in range(self._depth):
            nodes <<= 1
            left = self._sums[nodes]
            is_right = (rest >= left) & (self._sums[nodes + 1] > 0.0)
            rest -= np.where(is_right, left, 0.0)
            nodes += is_right
        return nodes - self._first
