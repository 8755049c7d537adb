"""TD errors of an update's rows, for samplers that draw by them; an option of a learner."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from sacpipe.algorithms.base import Learner
from sacpipe.specs.records import FloatArray


class LearnerWithErrors(Learner, Protocol):
    """A learner whose critics' loss has the factors `Batch.weights`, and that tells its TD errors."""

    def td_errors(self) -> FloatArray:
        """Return the absolute TD errors of the last batch's rows, without the weights, in task units.

        float32, shape (B,). Of several critics it is the mean.

        Raises:
            ValueError: there was no update yet.
        """
        ...


def find_td_errors(learner: Learner) -> Callable[[], FloatArray] | None:
    """Return a learner's `td_errors`, or None if it offers none, and so takes no weights either."""
    found: Callable[[], FloatArray] | None = getattr(learner, "td_errors", None)
    return found


def mean_td_errors(q_values: FloatArray, targets: FloatArray) -> FloatArray:
    """Return the mean over critics of the absolute error.

    Args:
        q_values: Before the update. Shape (num_critics, B).
        targets: Shape (B,).
    """
    found: FloatArray = np.abs(q_values - targets).mean(axis=0)
    return found
