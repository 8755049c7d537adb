"""The `replay` section of params.yaml."""

from typing import Any, Literal

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_MAX_BUFFER_BYTES = 4 * 2**30
_SEGMENT_BYTES = 32 * 2**20
_OVERHEAD_BYTES = 16
"""Bytes of a transition besides observation and action: reward, flags, episode."""

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


class ReplayConfig(Config):
    """Size of the replay buffer, form of the pool on disk, and the initial pool."""

    capacity: int = Field(ge=1)
    """Transitions in the replay buffer; the pool keeps all. The oldest is overwritten first."""
    segment_transitions: int = Field(ge=1)
    """Transitions in one file of the pool; files of 16 to 64 MiB suit DVC best."""
    format: PoolFormat
    """Form of the files: compact, or full, which stores every next observation. `compact` stores a next
    observation only where the following row does not repeat it."""
    initial_pool: InitialPoolConfig | None
    """Earlier experience: null, or {sha256: of data/pool/manifest.json, share: of each batch, up to 1.0}."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return at least four segments, of 32 MiB in a long run, and a buffer of at most 4 GiB."""
        size = sum(term.size * (4 if term.dtype == "float32" else 1) for term in spec.observation)
        size += 4 * spec.action_dim + _OVERHEAD_BYTES
        return {
            "capacity": max(1, min(1_000_000, budget.total_steps, rounded(_MAX_BUFFER_BYTES // size))),
            "segment_transitions": max(1, min(budget.total_steps // 4, rounded(_SEGMENT_BYTES // size))),
            "format": "compact",
            "initial_pool": None,
        }


def rounded(count: int) -> int:
    """Round a positive count down to one digit that is not zero: 335,544 to 300,000."""
    place = 10 ** (len(str(count)) - 1)
    return count // place * place
