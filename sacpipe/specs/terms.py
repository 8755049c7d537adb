"""One term of an observation or an action: its name, unit and bounds."""

from typing import Self

from pydantic import Field, model_validator

from sacpipe.core.config import Config


class ObservationTerm(Config):
    """Consecutive entries of the observation vector under one name."""

    name: str
    size: int = Field(ge=1)
    """Number of entries."""
    unit: str
    """SI unit, `1` for a number without unit, `mixed`, or `unknown`."""
    source: str
    """Simulator quantity that the entries come from, for the engineer who connects the robot's sensors."""


class ActionTerm(Config):
    """One entry of the action vector, in the task's own units."""

    name: str
    unit: str
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, found low={self.low} high={self.high}")
        return self
