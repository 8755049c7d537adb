"""Policy kinds: how a policy makes an action of its network's output. One file each.

An installed package adds a kind by an entry point of the group `sacpipe.policies`, which names the kind's
config. Policy files name their kind, so a kind that is no registered member cannot be written.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from sacpipe.core.members import Members
from sacpipe.specs.env_spec import EnvSpec

if TYPE_CHECKING:
    from sacpipe.networks.policies.base import PolicyNetwork

POLICY_KINDS = Members(
    "policy kind",
    "sacpipe.policies",
    {
        "squashed_gaussian": "sacpipe.networks.policies.squashed_gaussian:SquashedGaussianConfig",
        "deterministic": "sacpipe.networks.policies.deterministic:DeterministicConfig",
        "sampling_network": "sacpipe.networks.policies.sampling_network:SamplingNetworkConfig",
        "real_nvp": "sacpipe.networks.policies.real_nvp:RealNVPConfig",
        "hierarchy": "sacpipe.networks.policies.hierarchy:HierarchyConfig",
    },
)


class PolicyConfig(Protocol):
    """The config of a policy kind: a subclass of `sacpipe.core.config.Config`, stored in policy files."""

    kind: ClassVar[str]
    """Registered name."""

    @classmethod
    def parse(cls, mapping: Any, *, where: str = "", source: str = "params.yaml") -> Self:
        """Validate a plain mapping; see `Config.parse`."""
        ...

    def as_tree(self) -> Mapping[str, Any]:
        """Return the config as plain JSON values."""
        ...

    def build(self, spec: EnvSpec) -> "PolicyNetwork":
        """Return a network whose parameters are not drawn yet.

        Args:
            spec: The `policy_spec` of the task.

        Raises:
            ConfigError: the kind cannot act in this task.
        """
        ...
