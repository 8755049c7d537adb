"""The `replay` section of params.yaml."""

from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import Field

from sacpipe.core.members import member_field
from sacpipe.replay.pool.config import InitialPoolConfig, PoolConfig
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.replay.samplers.base import SamplerConfig
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_MAX_BUFFER_BYTES = 4 * 2**30
_SEGMENT_BYTES = 32 * 2**20
_OVERHEAD_BYTES = 16
"""Bytes of a transition besides observation and action: reward, flags, episode."""

if TYPE_CHECKING:
    SamplerSection: TypeAlias = SamplerConfig
else:
    SamplerSection = member_field(SAMPLERS)
"""The `replay.sampler` section of params.yaml, of any sampler."""


class ReplayConfig(PoolConfig):
    """Form of the pool on disk, size of the replay buffer, the sampler, and the initial pool."""

    capacity: int = Field(ge=1)
    """Transitions in the replay buffer; the pool keeps all. The oldest is overwritten first."""
    sampler: SamplerSection
    """How batches are drawn from the buffer; `name: uniform` draws every transition equally often."""
    initial_pool: InitialPoolConfig | None
    """Earlier experience: null, or {sha256, share} of data/pool, whose manifest has that digest."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return at least four segments, of 32 MiB in a long run, and a buffer of at most 4 GiB."""
        size = sum(term.size * (4 if term.dtype == "float32" else 1) for term in spec.observation)
        size += 4 * spec.action_dim + _OVERHEAD_BYTES
        return {
            "segment_transitions": max(1, min(budget.total_steps // 4, rounded(_SEGMENT_BYTES // size))),
            "format": "compact",
            "capacity": max(1, min(1_000_000, budget.total_steps, rounded(_MAX_BUFFER_BYTES // size))),
            "sampler": {"name": "uniform"},
            "initial_pool": None,
        }


def rounded(count: int) -> int:
    """Round a positive count down to its first digit: 335,544 to 300,000."""
    digits = str(count)
    return int(digits[0] + "0" * (len(digits) - 1))
