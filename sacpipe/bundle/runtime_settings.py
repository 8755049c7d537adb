"""The `runtime` section of params.yaml, and the observations of training that its guards compare with."""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, model_validator

from sacpipe.core.config import Config
from sacpipe.specs.terms import MAX_ACTION, MAX_ENTRIES, MAX_TERMS, TermName

MAX_PERIODS = 1e6
"""Upper bound of the settings that count control periods."""
MAX_STEPS = 1_000_000
"""Upper bound of the settings that count steps."""

_ActionEntry = Annotated[float, Field(ge=-MAX_ACTION, le=MAX_ACTION)]
_Periods = Annotated[float, Field(gt=0, le=MAX_PERIODS)]


class RuntimeSettings(Config):
    """Settings of the robot's runtime, and its guards."""

    safe_action: tuple[_ActionEntry, ...] | None = Field(min_length=1, max_length=MAX_TERMS)
    """Action in the task's own units; null for zero, or the nearest value to zero in the range."""
    max_last_steps: int = Field(ge=1, le=MAX_STEPS)
    """Largest number of consecutive steps with the fallback `last`."""
    blend_steps: int = Field(ge=0, le=MAX_STEPS)
    """Steps over which a new policy replaces the one before; 0 for an immediate change."""
    ramp_steps: int = Field(ge=0, le=MAX_STEPS)
    """Steps over which the first policy takes over from the action at the start; 0 for an immediate start."""
    stop_category: Literal[0, 1, 2]
    """Stop category of IEC 60204-1."""
    watchdog_periods: _Periods | None
    """Control periods without a step until the watchdog stops the robot; null for no watchdog."""
    term_max_age_periods: dict[TermName, _Periods] = Field(max_length=MAX_TERMS)
    """Age from which a term is refused, in control periods, for terms that have a limit of their own."""
    guards: tuple[dict[str, JsonValue], ...] = Field(max_length=MAX_TERMS)


_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_Float32 = Annotated[float, Field(ge=-_MAX_FLOAT32, le=_MAX_FLOAT32)]
_Entries = Annotated[tuple[_Float32, ...], Field(min_length=1, max_length=MAX_ENTRIES)]


class Envelope(Config):
    """Observations of the pool that the policy was trained on: ranges and longest constant runs."""

    low: dict[TermName, _Entries] = Field(max_length=MAX_TERMS)
    """Lowest value of each entry of a float32 term, in C order."""
    high: dict[TermName, _Entries] = Field(max_length=MAX_TERMS)
    """Highest value of each entry of a float32 term, in C order."""
    longest_constant: dict[TermName, Annotated[int, Field(ge=1, le=MAX_STEPS**2)]] = Field(
        max_length=MAX_TERMS
    )
    """Longest run of consecutive observations of one episode with an unchanged term, by term."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, lows in self.low.items():
            highs = self.high.get(name, ())
            if len(lows) != len(highs) or any(low > high for low, high in zip(lows, highs, strict=True)):
                raise ValueError(
                    f"expected low and high of one length, each low at most its high, in '{name}'"
                )
        return self
