"""The `replay` section of params.yaml."""

from typing import Literal

from pydantic import Field

from sacpipe.core.config import Config

PoolFormat = Literal["full", "compact"]


class ReplayConfig(Config):
    """How much experience is kept, and how it lies on disk."""

    capacity: int = Field(ge=1)
    """Transitions the learner samples from; the oldest is overwritten first. The pool keeps them all."""
    segment_transitions: int = Field(ge=1)
    """Transitions in one sealed file of the pool. Files of 16 to 64 MiB suit DVC best."""
    format: PoolFormat
    """`full`, or `compact`: a next observation is kept only where the next row does not repeat it."""
