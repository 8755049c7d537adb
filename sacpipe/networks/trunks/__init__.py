"""Trunks: the part of a network from its inputs to features. One file each; an own one is a line in `TRUNKS`.

An installed package adds a trunk by an entry point of the group `sacpipe.trunks`. Policy files name their
trunk, so a trunk that params.yaml names by import path cannot be written.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

from pydantic import BeforeValidator

from sacpipe.core.config import MemberNameError
from sacpipe.core.members import Members, member_field
from sacpipe.networks.inputs import GroupInputs
from sacpipe.specs.env_spec import EnvSpec

if TYPE_CHECKING:
    from sacpipe.networks.trunks.base import Trunk

TRUNKS = Members(
    "trunk",
    "sacpipe.trunks",
    {
        "mlp": "sacpipe.networks.trunks.mlp:MLPConfig",
        "layer_norm_mlp": "sacpipe.networks.trunks.layer_norm_mlp:LayerNormMLPConfig",
        "conv": "sacpipe.networks.trunks.conv:ConvConfig",
    },
)


class TrunkSection(Protocol):
    """The config of a trunk: a subclass of `sacpipe.core.config.Config`."""

    name: str
    """Name in the table."""

    def build(self, inputs: GroupInputs, *, extra_dim: int, num: int) -> "Trunk":
        """Return a trunk whose parameters are not drawn yet.

        Args:
            inputs: What it sees.
            extra_dim: Length of another vector that it takes, the action of a critic or the noise of a
                policy; 0 for none.
            num: Members of the stack.

        Raises:
            ConfigError: it cannot take these inputs, e.g. an image.
        """
        ...

    def as_tree(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        ...


def trunk_for(spec: EnvSpec | None) -> str:
    """Return the name of the trunk in a new params.yaml: `conv` where the policy sees an image."""
    return "conv" if spec is not None and spec.policy_spec.layout.image_terms else "mlp"


def _refuse_import_path(value: Any) -> Any:
    """Refuse a trunk that is no registered member, before anything is imported."""
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    if isinstance(name, str) and ":" in name:
        raise MemberNameError(
            "name",
            "expected a registered trunk, because a policy file names no import path. Declare it as an entry "
            f"point of the group '{TRUNKS.group}' and use its name",
        )
    return value


if TYPE_CHECKING:
    TrunkConfig: TypeAlias = TrunkSection
    RegisteredTrunk: TypeAlias = TrunkSection
else:
    TrunkConfig = member_field(TRUNKS)
    """Type of a trunk's section in params.yaml."""
    RegisteredTrunk = Annotated[TrunkConfig, BeforeValidator(_refuse_import_path)]
    """Type of the trunk of a policy, whose file names registered members only."""
