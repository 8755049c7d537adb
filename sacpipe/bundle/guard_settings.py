"""The `guards` section of params.yaml: thresholds of the robot's guards, and the fallback of each.

The section is copied into the contract. Times are counted in control periods, so one section fits tasks
of any rate; for a task without a clock they are not checked.
"""

from typing import Annotated, Literal, Self, get_args

import numpy as np
from pydantic import Field, model_validator

from sacpipe.core.config import Config
from sacpipe.specs.terms import MAX_ACTION, MAX_ENTRIES, MAX_TERMS

Fallback = Literal["last", "hold", "zero", "safe", "stop", "limit"]
"""The action that the runtime executes when a guard refuses the step.

    last     the last executed action again, at most `max_last_steps` times in a row, then `stop`
    hold     the last executed action again, without a limit
    zero     zero, or the nearest value to zero in the action's range
    safe     `safe_action`
    stop     `safe_action` in this step and all later ones, until the operator clears the stop
    limit    the policy's action, clipped to the allowed range; for `action_outside_bounds` and
             `action_change` only
"""

Cause = Literal[
    "shape",
    "observation_not_finite",
    "observation_old",
    "observation_from_future",
    "observation_repeated",
    "observation_out_of_order",
    "start_outside_envelope",
    "inference_failed",
    "action_not_finite",
    "action_outside_bounds",
    "action_change",
    "deadline_missed",
]
"""Why a guard refuses a step; the fields of `Fallbacks` define each."""
CAUSES: tuple[Cause, ...] = get_args(Cause)

Verdict = Literal["ok", "limited", "fallback", "stopped"]
"""The action that a step executed.

    ok        the policy's action
    limited   the policy's action, clipped to the allowed range
    fallback  the action of a fallback
    stopped   the safe action, until the operator clears the stop
"""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

MAX_PERIODS = 1e6
"""Upper bound of the settings that count control periods. Operators set lower ones (`LoadGateSettings`)."""
MAX_MARGIN = 1e6
"""Upper bound of `envelope_margin`."""
MAX_STEPS = 1_000_000
"""Upper bound of the settings that count steps."""

_LIMITABLE = ("action_outside_bounds", "action_change")


class Fallbacks(Config):
    """The fallback of every cause."""

    shape: Fallback
    """An observation term is missing or unknown, or has another size or type."""
    observation_not_finite: Fallback
    """An entry of the observation is NaN or infinity."""
    observation_old: Fallback
    """The observation is older than `max_age_periods`."""
    observation_from_future: Fallback
    """The observation's time stamp is later than now by more than `max_future_periods`."""
    observation_repeated: Fallback
    """The observation has the time stamp of the one before."""
    observation_out_of_order: Fallback
    """The observation has an earlier time stamp than the one before."""
    start_outside_envelope: Fallback
    """An episode's first observation is outside the training range by more than `envelope_margin`."""
    inference_failed: Fallback
    """The ONNX runtime raised an error instead of returning an action, or the step failed by an unforeseen
    error."""
    action_not_finite: Fallback
    """An entry of the action is NaN or infinity."""
    action_outside_bounds: Fallback
    """An entry of the action is outside its term's bounds."""
    action_change: Fallback
    """An entry of the action differs from the last executed one by more than `max_action_change`."""
    deadline_missed: Fallback
    """The computation of the step took longer than `deadline_periods`."""

    @model_validator(mode="after")
    def _only_where_it_can(self) -> Self:
        for cause in CAUSES:
            if getattr(self, cause) == "limit" and cause not in _LIMITABLE:
                raise ValueError(
                    f"{cause}: `limit` is for {' and '.join(_LIMITABLE)} only, because only these two have "
                    "a nearest allowed action. Choose last, hold, zero, safe or stop"
                )
        return self


_ActionEntry = Annotated[float, Field(ge=-MAX_ACTION, le=MAX_ACTION)]


class GuardSettings(Config):
    """Thresholds of the guards, and what the runtime does when one is exceeded."""

    max_age_periods: float = Field(gt=0, le=MAX_PERIODS)
    """Age from which an observation is refused, in control periods."""
    max_future_periods: float = Field(ge=0, le=MAX_PERIODS)
    """How far a time stamp may be ahead of the robot's clock, in control periods."""
    deadline_periods: float = Field(gt=0, le=MAX_PERIODS)
    """Longest computation of one step, in control periods."""
    max_action_change: float = Field(gt=0, le=1)
    """Largest change of an action entry from one step to the next, as a share of its range; 1 allows all."""
    envelope_margin: float = Field(ge=0, le=MAX_MARGIN)
    """Allowed distance of a first observation from the training range, as a share of each entry's range."""
    max_last_steps: int = Field(ge=1, le=MAX_STEPS)
    """Largest number of consecutive steps with the fallback `last`."""
    safe_action: tuple[_ActionEntry, ...] | None = Field(min_length=1, max_length=MAX_TERMS)
    """Action in the task's own units; null for zero, or the nearest value to zero in the range."""
    blend_steps: int = Field(ge=0, le=MAX_STEPS)
    """Steps over which a new policy replaces the one before; 0 for an immediate change."""
    fallbacks: Fallbacks
    """Fallback of each cause."""


_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_Float32 = Annotated[float, Field(ge=-_MAX_FLOAT32, le=_MAX_FLOAT32)]
"""A number that is finite as float32."""


class Envelope(Config):
    """Range of each observation entry in the pool that the policy was trained on."""

    low: tuple[_Float32, ...] = Field(min_length=1, max_length=MAX_ENTRIES)
    """Lowest value of each entry. observation_dim numbers."""
    high: tuple[_Float32, ...] = Field(min_length=1, max_length=MAX_ENTRIES)
    """Highest value of each entry. observation_dim numbers."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        pairs = list(zip(self.low, self.high, strict=False))
        if len(self.low) != len(self.high) or any(low > high for low, high in pairs):
            raise ValueError("low and high must have the same length, and each low must be at most its high")
        return self
