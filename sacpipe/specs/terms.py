"""One term of an observation or an action: its name, unit and bounds.

Every number and text has a bound, because specs come from files of other machines too.
"""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from sacpipe.core.config import Config

MAX_ENTRIES = 1_000_000
"""Maximum number of entries of an observation."""
MAX_TERMS = 10_000
"""Maximum number of terms of an observation, and of an action."""
MAX_ACTION = 1e38
"""Maximum magnitude of an action bound: a range of twice this is still a finite float32."""

Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]*$")]
"""A text on one line, without control characters: it is shown on terminals and pages."""


class ObservationTerm(Config):
    """Consecutive entries of the observation vector under one name."""

    name: Text
    size: int = Field(ge=1, le=MAX_ENTRIES)
    """Number of entries."""
    unit: Text
    """SI unit, `1` for a number without unit, `mixed`, or `unknown`."""
    source: Text
    """Simulator quantity that the entries come from, for the engineer who connects the robot's sensors."""


class ActionTerm(Config):
    """One entry of the action vector, in the task's own units."""

    name: Text
    unit: Text
    low: float = Field(ge=-MAX_ACTION, le=MAX_ACTION)
    high: float = Field(ge=-MAX_ACTION, le=MAX_ACTION)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, found low={self.low} high={self.high}")
        if not np.float32(self.low) < np.float32(self.high):
            raise ValueError(
                f"low must be below high as float32 too, found low={self.low} high={self.high}: actions are "
                "float32, and their differences are shares of high - low"
            )
        return self
