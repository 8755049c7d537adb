"""What a step takes and gives: an observation, and the decision with its verdict and timings."""

from collections.abc import Mapping
from typing import NamedTuple

from sacpipe.bundle.guard_settings import Cause, Verdict
from sacpipe.specs.records import FloatArray

Observation = FloatArray | Mapping[str, FloatArray]
"""The whole vector, float32; or every term by its name in the contract, each float32 of shape (size,)."""


class Timings(NamedTuple):
    """Durations of one step, in nanoseconds."""

    age_ns: int
    """Age of the observation when the step began; negative where its stamp is in the future."""
    policy_ns: int
    """Time in onnxruntime; 0 where the policy did not run."""
    step_ns: int
    """Time of the whole step."""


class Decision(NamedTuple):
    """Result of a step. Safe to keep: its arrays are not written again."""

    action: FloatArray
    """Action to execute, in task units, finite and within its bounds. Shape (action_dim,)."""
    verdict: Verdict
    reasons: tuple[Cause, ...]
    """Causes for which `action` is not the policy's action; empty where it is."""
    timings: Timings
    policy_action: FloatArray | None
    """Action that the policy computed, unchecked: it may be not finite or out of bounds. Shape (action_dim,).
    None where the policy did not run or failed."""
