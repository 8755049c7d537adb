"""The golden-sequence check: a policy gives here the actions that it gave where it was exported."""

from collections.abc import Callable

import numpy as np

from sacpipe.bundle.reader import Bundle
from sacpipe.core.errors import BundleError
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray


def check_golden_sequence(
    bundle: Bundle, act: Callable[[Observation, FloatArray | None], FloatArray]
) -> float:
    """Compute the action of every golden observation and compare it with the golden action.

    Args:
        bundle: Its golden.npz holds the sequence, its contract the tolerance.
        act: The policy of this bundle: one observation, and the noise of a stochastic policy or None, to an
            action of shape (action_dim,), in task units.

    Returns:
        Largest difference found, as a share of the action's range `high - low`.

    Raises:
        BundleError: the largest difference exceeds the tolerance. Names the step and the action.
    """
    spec, tolerance = bundle.contract.spec, bundle.contract.golden.tolerance
    span = np.subtract(spec.action_high.tolist(), spec.action_low.tolist())
    golden, expected = bundle.golden, bundle.golden.actions
    noise = [None] * len(expected) if golden.noise is None else golden.noise
    found = np.stack([act(golden.observations.rows(row), noise[row]) for row in range(len(expected))])
    errors = np.abs(found.astype(np.float64) - expected) / span
    row, entry = np.unravel_index(np.argmax(errors), errors.shape)
    if errors[row, entry] > tolerance:
        raise BundleError(
            f"golden.npz: step {row}, action '{spec.action[entry].name}': expected "
            f"{expected[row, entry]:.9g} within {tolerance:.3g} of its range, found "
            f"{found[row, entry]:.9g}. This machine computes other actions than the exporting one; do not "
            "use the policy here."
        )
    return float(errors.max())
