"""Settings of a pool on disk, and the name of the pool that a run begins with."""

from typing import Literal

from pydantic import Field

from sacpipe.core.config import Config

PoolFormat = Literal["full", "compact"]


class InitialPoolConfig(Config):
    """The initial pool of a run: earlier experience, in `data/pool`."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the pool's manifest.json, which has the digest of every segment."""
    share: float = Field(gt=0, le=1)
    """Share of each batch that is drawn from the initial pool; 1 trains on this pool only."""

    def drawn(self, batch_size: int) -> int:
        """Return the number of a batch's transitions from the initial pool: the rounded share, at least 1."""
        return max(1, round(self.share * batch_size))


class PoolConfig(Config):
    """Size and form of a pool's segments."""

    segment_transitions: int = Field(ge=1)
    """Transitions in one file of the pool; files of 16 to 64 MiB suit DVC best."""
    format: PoolFormat
    """Form of the files: compact, or full, which stores every next vector. `compact` stores a next
    observation only if the following row does not repeat it. Next images are stored in this way in both
    forms."""
