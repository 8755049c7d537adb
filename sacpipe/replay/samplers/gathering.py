"""What samplers that gather transitions share: the memory of one batch, and the discounts of single steps."""

import numpy as np

from sacpipe.replay.view import Gathered
from sacpipe.specs.env_spec import EnvSpec


class Gathering:
    """Keeps one batch, whose arrays are views of gathered records, and makes another for another size.

    Args:
        spec: Task of the transitions.
        discount: Discount per step.
    """

    def __init__(self, spec: EnvSpec, discount: float) -> None:
        self._spec, self._discount = spec, np.float32(discount)
        self._make(0)

    def _make(self, n: int) -> None:
        self._gathered = Gathered(self._spec, n)
        self._batch = self._gathered.batch(np.empty(n, dtype=np.float32))

    def _fit(self, n: int) -> None:
        """Have memory for n rows."""
        if n != len(self._gathered):
            self._make(n)

    def _set_discounts(self) -> None:
        """Give every row the discount of one step, and 0 where the task itself ended."""
        self._batch.discounts.fill(self._discount)
        self._batch.discounts[self._gathered.terminations] = 0.0
