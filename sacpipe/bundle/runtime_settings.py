"""The `runtime` section of params.yaml and of the contract: guards, fallback actions, changes of the policy.

Times are counted in control periods, so one section fits tasks of any rate; for a task without a clock they
are not checked. Every number has a bound, because contracts come from other machines.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sacpipe.bundle.guards import MAX_PERIODS, MAX_STEPS, GuardField
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.specs.env_spec import MAX_EPISODE_STEPS, EnvSpec
from sacpipe.specs.terms import MAX_ACTION, MAX_ENTRIES, MAX_TERMS, TermName

MAX_GUARDS = 100
"""Maximum number of guards of a contract."""

_ActionEntry = Annotated[float, Field(ge=-MAX_ACTION, le=MAX_ACTION)]
_Periods = Annotated[float, Field(gt=0, le=MAX_PERIODS)]


class RuntimeSettings(Config):
    """What a robot's runtime does beside asking the policy."""

    safe_action: tuple[_ActionEntry, ...] | None = Field(min_length=1, max_length=MAX_TERMS)
    """Action in the task's own units; null for zero, or the nearest value to zero in the range."""
    max_last_steps: int = Field(ge=1, le=MAX_STEPS)
    """Largest number of consecutive steps with the fallback `last`."""
    blend_steps: int = Field(ge=0, le=MAX_STEPS)
    """Steps over which a new policy replaces the one before; 0 for an immediate change."""
    ramp_steps: int = Field(ge=0, le=MAX_STEPS)
    """Steps over which the policy's action replaces the safe action at the start of an episode and after a
    cleared stop; 0 for an immediate start."""
    stop_category: Literal[0, 1, 2]
    """Category of a stop in IEC 60204-1: 0 removes the power at once, 1 removes it after a controlled stop, 2
    keeps it after a controlled stop."""
    watchdog_periods: _Periods | None
    """Control periods without a step after which the watchdog stops the robot; null for none."""
    term_max_age_periods: dict[TermName, _Periods] = Field(max_length=MAX_TERMS)
    """Age from which a term is refused, in control periods, by name. A term that is not named has the limit
    of the guard `observation_old`."""
    guards: tuple[GuardField, ...] = Field(max_length=MAX_GUARDS)
    """Guards with their fallbacks. A guard of the product that is not listed has the runtime's default."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [guard.name for guard in self.guards]
        if len(set(names)) != len(names):
            twice = next(name for index, name in enumerate(names) if name in names[:index])
            raise ValueError(f"guards: expected each guard once, found '{twice}' twice")
        return self

    def check_task(self, spec: EnvSpec) -> None:
        """Check that the settings fit a task.

        Args:
            spec: The policy's specification.

        Raises:
            ValueError: the safe action has another length or is out of bounds, or a term is unknown.
        """
        if self.safe_action is not None:
            _check_safe_action(self.safe_action, spec)
        names = [term.name for term in spec.observation]
        if unknown := sorted(self.term_max_age_periods.keys() - set(names)):
            raise ValueError(
                f"runtime.term_max_age_periods: expected terms of {spec.task}, found {', '.join(unknown)}"
            )
        for guard in self.guards:
            guard.check_task(spec)


def _check_safe_action(safe_action: tuple[float, ...], spec: EnvSpec) -> None:
    bounds = [(term.low, term.high) for term in spec.action]
    fits = len(safe_action) == len(bounds) and all(
        low <= value <= high for value, (low, high) in zip(safe_action, bounds, strict=True)
    )
    if not fits:
        raise ValueError(
            f"runtime.safe_action: expected {len(bounds)} numbers within {bounds}, found {list(safe_action)}"
        )


def check_runtime_settings(settings: RuntimeSettings, spec: EnvSpec) -> None:
    """Check that the `runtime` section of params.yaml fits a task.

    Raises:
        ConfigError: the safe action has another length than the task's actions or is outside their bounds, or
            a term is not one of the policy's.
    """
    try:
        settings.check_task(spec.policy_spec)
    except ValueError as exc:
        raise ConfigError(f"params.yaml: {exc}. Correct the section `runtime`.") from exc


_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_Float32 = Annotated[float, Field(ge=-_MAX_FLOAT32, le=_MAX_FLOAT32)]
"""A number that is finite as float32."""
_Entries = Annotated[tuple[_Float32, ...], Field(min_length=1, max_length=MAX_ENTRIES)]
_Repeats = Annotated[int, Field(ge=0, le=MAX_EPISODE_STEPS)]


class Envelope(Config):
    """What the observations in the pool that the policy was trained on looked like, by name of the term."""

    low: dict[TermName, _Entries] = Field(max_length=MAX_TERMS)
    """Lowest value of each entry of each float32 term, flattened. term.size numbers."""
    high: dict[TermName, _Entries] = Field(max_length=MAX_TERMS)
    """Highest value of each entry of each float32 term, flattened. term.size numbers."""
    longest_constant: dict[TermName, _Repeats] = Field(max_length=MAX_TERMS)
    """Largest number of successive observations of an episode in which the term, float32 or uint8, had the
    value of the observation before."""

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

    def check_task(self, spec: EnvSpec) -> None:
        """Check that the envelope has the terms of a task.

        Args:
            spec: The policy's specification.

        Raises:
            ValueError: a term is missing or unknown, or has another number of entries.
        """
        expected = {term.name: term.size for term in spec.observation if term.dtype == "float32"}
        found = {name: len(low) for name, low in self.low.items()}
        if found != expected:
            raise ValueError(f"envelope: expected the entries {expected}, found {found}")
        if unknown := sorted(self.longest_constant.keys() - {term.name for term in spec.observation}):
            raise ValueError(
                f"envelope.longest_constant: expected terms of {spec.task}, found {', '.join(unknown)}"
            )
