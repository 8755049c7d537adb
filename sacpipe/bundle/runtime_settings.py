"""The `runtime` section of params.yaml and of the contract: guards, fallback actions, changes of the policy.

Times are counted in control periods, so one section fits tasks of any rate; for a task without a clock they
are not checked. Every number has a bound, because contracts come from other machines.
"""

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from sacpipe.bundle.guards import GUARDS, MAX_PERIODS, MAX_STEPS, GuardField
from sacpipe.core.config import Config
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import MAX_EPISODE_STEPS, EnvSpec
from sacpipe.specs.terms import MAX_ACTION, MAX_ENTRIES, MAX_TERMS, TermName

MAX_GUARDS = 100
"""Maximum number of guards of a contract."""

_ActionEntry = Annotated[float, Field(ge=-MAX_ACTION, le=MAX_ACTION)]
_Periods = Annotated[float, Field(gt=0, le=MAX_PERIODS)]


def _check_number(guards: Any) -> Any:
    """Check the number of guards before any is parsed: finding one takes milliseconds."""
    if not isinstance(guards, list):
        return guards
    if len(guards) > MAX_GUARDS:
        raise ValueError(f"expected at most {MAX_GUARDS} guards, found {len(guards)}")
    return tuple(guards)


class RuntimeSettings(Config):
    """What a robot's runtime does beside asking the policy."""

    safe_action: tuple[_ActionEntry, ...] | None = Field(min_length=1, max_length=MAX_TERMS)
    """Action in the task's own units; null for zero, or the nearest value to zero in the range."""
    max_last_steps: int = Field(ge=1, le=MAX_STEPS)
    """Largest number of consecutive steps with the fallback `last`."""
    blend_steps: int = Field(ge=0, le=MAX_STEPS)
    """Steps over which a new policy replaces the one before; 0 for an immediate change."""
    ramp_steps: int = Field(ge=0, le=MAX_STEPS)
    """Steps from the safe action to the policy's at a start; 0 for an immediate start. A start is that of an
    episode, or after a cleared stop."""
    stop_category: Literal[0, 1, 2]
    """Category of a stop in IEC 60204-1: 0, 1 or 2. 0 removes the power at once, 1 removes it after a
    controlled stop, 2 keeps it after a controlled stop."""
    watchdog_periods: _Periods | None
    """Control periods without a step until the watchdog stops the robot; null for none."""
    term_max_age_periods: dict[TermName, _Periods] = Field(max_length=MAX_TERMS)
    """Age limits by term, in control periods; else that of `observation_old`."""
    guards: Annotated[tuple[GuardField, ...], BeforeValidator(_check_number)] = Field(max_length=MAX_GUARDS)
    """Checks of each step; a fallback is last, hold, zero, safe, stop or limit. A guard of the product that
    is not listed has the runtime's default."""

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: every guard of the product that is not off by default."""
        guards = [GUARDS.find(name).default() for name in GUARDS.ours]
        return {
            "safe_action": None,
            "max_last_steps": 5,
            "blend_steps": 0,
            "ramp_steps": 0,
            "stop_category": 2,
            "watchdog_periods": None,
            "term_max_age_periods": {},
            "guards": [guard.as_tree() for guard in guards if guard is not None],
        }

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [guard.name for guard in self.guards]
        if len(set(names)) != len(names):
            twice = next(name for index, name in enumerate(names) if name in names[:index])
            raise ValueError(f"guards: expected each guard once, found '{twice}' twice")
        return self


_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_Float32 = Annotated[float, Field(ge=-_MAX_FLOAT32, le=_MAX_FLOAT32)]
"""A number that is finite as float32."""
_Entries = Annotated[tuple[_Float32, ...], Field(min_length=1, max_length=MAX_ENTRIES)]
_RunLength = Annotated[int, Field(ge=1, le=MAX_EPISODE_STEPS + 1)]


class Envelope(Config):
    """What the observations in the pool that the policy was trained on looked like, by name of the term."""

    low: dict[TermName, _Entries] = Field(max_length=MAX_TERMS)
    """Lowest value of each entry of each float32 term, flattened. term.size numbers."""
    high: dict[TermName, _Entries] = Field(max_length=MAX_TERMS)
    """Highest value of each entry of each float32 term, flattened. term.size numbers."""
    longest_constant: dict[TermName, _RunLength] = Field(max_length=MAX_TERMS)
    """Longest run of consecutive observations of one episode with an equal value of the term, float32 or
    uint8; 1 where it changed at every step."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low.keys() != self.high.keys():
            raise ValueError("expected low and high of the same terms")
        for name, low in self.low.items():
            high = self.high[name]
            if len(low) != len(high) or any(a > b for a, b in zip(low, high, strict=True)):
                raise ValueError(
                    f"{name}: low and high must have the same length, and each low must be at most its high"
                )
        return self
