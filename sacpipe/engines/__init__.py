"""Engines: how a learner's update is computed. One file each; a line in `ENGINES`.

The update by autograd is the definition. Another engine is chosen in params.yaml, so it is a part of the
run's identity, and it refuses a learner that it has no update for; none is exchanged silently.
"""

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from sacpipe.algorithms.base import Learner
from sacpipe.core.members import Members, member_field

ENGINES = Members(
    "engine",
    "sacpipe.engines",
    {
        "autograd": "sacpipe.engines.autograd:AutogradConfig",
        "torch": "sacpipe.engines.torch_engine:TorchConfig",
        "native": "sacpipe.engines.native_engine:NativeConfig",
    },
)

Tier = Literal["exact", "same-device"]
"""Where an engine gives the same bytes: on every x86-64-v3 processor, or on one kind of processor only."""


class EngineSection(Protocol):
    """The `engine` section of params.yaml: a subclass of `sacpipe.core.config.Config`."""

    name: str
    """Name in the table, or import path."""

    @property
    def num_threads(self) -> int:
        """Threads of PyTorch's arithmetic."""
        ...

    @property
    def tier(self) -> Tier:
        """Where a training with this engine has the same bytes; `same-device` for one that does not say."""
        ...

    def attach(self, learner: Learner) -> Learner:
        """Return the learner that trains from now on: the same one, or one with another way to compute it.

        Where it is another one, the first must not be used any more: it may be behind.

        Raises:
            ConfigError: the engine has no update for this learner.
        """
        ...

    @classmethod
    def suits(cls, algorithm: Any) -> bool:
        """Return whether the engine has an update for this algorithm; a new params.yaml asks."""
        ...

    def as_tree(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        ...


def tier_of(engine: EngineSection) -> Tier:
    """Return an engine's tier. One that promises nothing, such as an older one, has `same-device`."""
    tier: Tier = getattr(engine, "tier", "same-device")
    return tier


if TYPE_CHECKING:
    EngineConfig: TypeAlias = EngineSection
else:
    EngineConfig = member_field(ENGINES)
    """Type of the `engine` section of params.yaml."""
