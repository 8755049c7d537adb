"""The `replay` section of params.yaml."""

from typing import Literal

from pydantic import Field

from sacpipe.core.config import Config

PoolFormat = Literal["full", "compact"]


class InitialPoolConfig(Config):
    """Experience that is there before a run begins: the replay pool in `data/pool`."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of its manifest.json, which names the digest of every segment."""
    share: float = Field(gt=0, le=1)
    """Part of each batch that is drawn from it; 1 trains on it alone."""

    def drawn(self, batch_size: int) -> int:
        """Return how many transitions of a batch that is: the share, rounded, and at least one."""
        return max(1, round(self.share * batch_size))


class ReplayConfig(Config):
    """How much experience is kept, how it lies on disk, and what a run begins with."""

    capacity: int = Field(ge=1)
    """Transitions the learner samples from; the oldest is overwritten first. The pool keeps them all."""
    segment_transitions: int = Field(ge=1)
    """Transitions in one sealed file of the pool. Files of 16 to 64 MiB suit DVC best."""
    format: PoolFormat
    """`full`, or `compact`: a next observation is kept only where the next row does not repeat it."""
    initial_pool: InitialPoolConfig | None
    """Earlier experience to train on beside the run's own, or null."""
