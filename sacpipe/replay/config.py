"""The `replay` section of params.yaml."""

from typing import TYPE_CHECKING, TypeAlias

from pydantic import Field

from sacpipe.core.members import member_field
from sacpipe.replay.pool.config import InitialPoolConfig, PoolConfig
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.replay.samplers.base import SamplerConfig

if TYPE_CHECKING:
    SamplerSection: TypeAlias = SamplerConfig
else:
    SamplerSection = member_field(SAMPLERS)
"""The `replay.sampler` section of params.yaml, of any sampler."""


class ReplayConfig(PoolConfig):
    """Form of the pool on disk, size of the replay buffer, the sampler, and the initial pool."""

    capacity: int = Field(ge=1)
    """Transitions in the replay buffer; the oldest is overwritten first. The pool keeps all of them."""
    sampler: SamplerSection
    """How batches are drawn from the buffer; `name: uniform` draws every transition equally often."""
    initial_pool: InitialPoolConfig | None
    """Earlier experience to train on besides the run's own, or null."""
