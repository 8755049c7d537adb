"""What a robot refuses, and what it does instead: the `guards` section of params.yaml, kept in the contract.

Thresholds in time are counted in control periods, so that one section fits tasks of any rate; where a
task has no clock they are not checked.
"""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from sacpipe.core.config import Config

Fallback = Literal["last", "hold", "zero", "safe", "stop", "limit"]
"""What is done instead of an action that was refused.

    last     the last executed action again, `max_last_steps` times in a row at most, then `stop`
    hold     the last executed action, as long as it takes
    zero     zero, or what of the action's range is nearest to it
    safe     `safe_action`
    stop     `safe_action` from now on, until somebody clears the stop
    limit    the action, brought back to what is allowed; of the two guards that can say what that is
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
CAUSES: tuple[Cause, ...] = get_args(Cause)

Verdict = Literal["ok", "limited", "fallback", "stopped"]
"""What became of a step: the policy's action; the policy's, brought back to what is allowed; another
one, as the fallbacks say; the safe action, until somebody clears the stop."""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

_LIMITABLE = ("action_outside_bounds", "action_change")


class Fallbacks(Config):
    """The fallback of every cause."""

    shape: Fallback
    """A term is missing or unknown, or has another size or type."""
    observation_not_finite: Fallback
    """NaN or infinity among the entries."""
    observation_old: Fallback
    """Older than `max_age_periods`."""
    observation_from_future: Fallback
    """Stamped later than now by more than `max_future_periods`."""
    observation_repeated: Fallback
    """The stamp of the one before."""
    observation_out_of_order: Fallback
    """An earlier stamp than the one before."""
    start_outside_envelope: Fallback
    """The first observation of an episode lies outside what training saw, by more than `envelope_margin`."""
    inference_failed: Fallback
    """The ONNX runtime gave an error instead of an action."""
    action_not_finite: Fallback
    action_outside_bounds: Fallback
    action_change: Fallback
    """An entry moves by more than `max_action_change` from the last executed action."""
    deadline_missed: Fallback
    """The step's own computation took longer than `deadline_periods`."""

    @model_validator(mode="after")
    def _only_where_it_can(self) -> Self:
        for cause in CAUSES:
            if getattr(self, cause) == "limit" and cause not in _LIMITABLE:
                raise ValueError(
                    f"{cause}: `limit` is for {' and '.join(_LIMITABLE)} alone; a value that is not known "
                    "cannot be brought back. Choose last, hold, zero, safe or stop"
                )
        return self


class GuardSettings(Config):
    """Thresholds and fallbacks."""

    max_age_periods: float = Field(gt=0)
    max_future_periods: float = Field(ge=0)
    deadline_periods: float = Field(gt=0)
    max_action_change: float = Field(gt=0, le=1)
    """From one step to the next, as a share of each action's range; 1 allows everything."""
    envelope_margin: float = Field(ge=0)
    """As a share of each observation entry's range in training."""
    max_last_steps: int = Field(ge=1)
    safe_action: tuple[float, ...] | None = Field(min_length=1)
    """In the task's own units; null for zero, or what of the range is nearest to it."""
    blend_steps: int = Field(ge=0)
    """Steps over which a new policy takes over from the one before; 0 for at once."""
    fallbacks: Fallbacks


class Envelope(Config):
    """The lowest and the highest value of each observation entry in the pool the policy learned from."""

    low: tuple[float, ...] = Field(min_length=1)
    high: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        pairs = list(zip(self.low, self.high, strict=False))
        if len(self.low) != len(self.high) or any(low > high for low, high in pairs):
            raise ValueError("low and high must have one length, and low be at most high")
        return self
