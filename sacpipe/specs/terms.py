"""One term of an observation or an action: its name, shape, unit and bounds.

Every number and text has a bound, because specs come from files of other machines too.
"""

import math
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from sacpipe.core.config import Config

MAX_ENTRIES = 1_000_000
"""Maximum number of entries of an observation."""
MAX_TERMS = 10_000
"""Maximum number of terms of an observation, and of an action."""
MAX_AXES = 6
"""Maximum number of axes of a term."""
MAX_ACTION = 1e38
"""Maximum magnitude of an action bound: a range of twice this is still a finite float32."""

RESERVED_NAMES = ("action", "noise")
"""Names of other tensors of policy.onnx, whose inputs have the names of the terms."""

Text = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]*$")]
"""A text on one line, without control characters: it is shown on terminals and pages."""
TermName = Annotated[Text, StringConstraints(min_length=1)]

Group = Literal["policy", "critic", "achieved_goal", "desired_goal"]
"""Who sees an observation term, and what it means to a goal sampler.

    policy         input of the policy, and so of the bundle
    critic         input of the critics; a term of this group alone exists in simulation only
    achieved_goal  the goal that the present state reaches
    desired_goal   the goal that the episode asks for
"""
BOTH: tuple[Group, ...] = ("policy", "critic")
"""Groups of an ordinary term: policy and critics see it."""

DType = Literal["float32", "uint8"]


class Term(Config):
    """One array of an observation."""

    name: TermName
    shape: tuple[Annotated[int, Field(ge=1, le=MAX_ENTRIES)], ...] = Field(max_length=MAX_AXES)
    """Shape of one observation's array; () for one number. An image is (height, width, channels)."""
    dtype: DType
    """float32 for numbers; uint8 for an image."""
    unit: Text
    """SI unit, `1` for a number without unit, `mixed`, or `unknown`."""
    source: Text
    """Simulator quantity that the entries come from, for the engineer who connects the robot's sensors."""
    groups: tuple[Group, ...] = Field(min_length=1, max_length=4)
    """Who sees the term, each group once, in the order of `Group`."""

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @model_validator(mode="after")
    def _valid(self) -> Self:
        if self.size > MAX_ENTRIES:
            raise ValueError(f"shape: expected at most {MAX_ENTRIES} entries, found {self.size}")
        if self.dtype == "uint8" and len(self.shape) != 3:
            raise ValueError(
                f"shape: expected (height, width, channels) of a uint8 image, found {self.shape}. Give other "
                "numbers as float32"
            )
        if self.name in RESERVED_NAMES:
            raise ValueError(
                f"name: '{self.name}' is the name of another tensor of policy.onnx. Choose another name"
            )
        order = ["policy", "critic", "achieved_goal", "desired_goal"]
        if list(self.groups) != [group for group in order if group in self.groups]:
            raise ValueError(f"groups: expected each of {', '.join(order)} at most once, in this order")
        return self


def vector_term(name: str, size: int, *, unit: str, source: str, groups: tuple[Group, ...] = BOTH) -> Term:
    """Return a float32 term of one axis."""
    return Term(name=name, shape=(size,), dtype="float32", unit=unit, source=source, groups=groups)


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
