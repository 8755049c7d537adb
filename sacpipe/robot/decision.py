"""What a step takes and gives: an observation with its stamps, and a decision with verdict and timings."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from numpy.typing import NDArray

from sacpipe.specs.records import FloatArray

GivenObservation = FloatArray | Mapping[str, NDArray[Any]]
"""Every term by its name in the contract, each of its shape and type; an `Observation` is such a mapping. Or,
for a task without images, one float32 vector: the terms one after the other in the order of the contract."""

Stamps = int | Mapping[str, int]
"""Time at which an observation was taken, or at which each of its terms was, by name; in nanoseconds of the
runtime's clock."""

Verdict = Literal["ok", "limited", "fallback", "stopped"]
"""The action that a step executed.

    ok        the policy's action; during a blend or a ramp, its mean with the action that it replaces
    limited   that action, limited to the allowed range
    fallback  the action of a fallback
    stopped   the safe action, until the operator clears the stop
"""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class Timings(NamedTuple):
    """Durations of one step, in nanoseconds."""

    age_ns: int
    """Age of the observation's oldest term when the step began; negative where its stamp is in the future."""
    policy_ns: int
    """Time in onnxruntime; 0 where the policy did not run."""
    step_ns: int
    """Time of the whole step."""


class Decision(NamedTuple):
    """Result of a step. Safe to keep: its arrays are not written again."""

    action: FloatArray
    """Action to execute, in task units, finite and within its bounds. Shape (action_dim,)."""
    verdict: Verdict
    reasons: tuple[str, ...]
    """Causes for which `action` is not the policy's action, names of guards or `watchdog`; empty where it
    is."""
    timings: Timings
    policy_action: FloatArray | None
    """Action that the policy computed, unchecked: it may be not finite or out of bounds. Shape (action_dim,).
    None where the policy did not run or failed."""
    stop_category: int | None
    """Category of the stop in IEC 60204-1 (0, 1 or 2) where the verdict is `stopped`; else None."""
    has_observation: bool
    """Whether the observation is data: no guard refused it as damaged, late or repeated."""
