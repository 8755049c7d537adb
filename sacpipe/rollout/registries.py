"""Registries as sources of bundles: the address of a version, and the table of what can read one.

A member of the table is a tracker's section of sacpipe.yaml (sacpipe/tracking/tracker.py). A robot uses its
`source` alone, so a member's file imports nothing that a robot lacks before it is asked for more.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sacpipe.core.config import Config, read_yaml
from sacpipe.core.errors import ConfigError
from sacpipe.core.members import Members, member_field
from sacpipe.rollout.sources import Source

SCHEME = "models:/"
CHOICE = "SACPIPE_TRACKING"
"""Environment variable that names the tracker, before the file."""
DEFAULT = "mlflow"
_NAME = re.compile(r"[^/:@\x00-\x1f\x7f]{1,256}")
"""Names and aliases, as MLflow allows them."""
_VERSION = re.compile(r"[0-9]{1,18}")

TRACKERS = Members(
    "tracker",
    "sacpipe.trackers",
    {
        "mlflow": "sacpipe.tracking.mlflow.config:MlflowTracking",
        "folder": "sacpipe.tracking.folder.config:FolderTracking",
    },
)
"""Trackers, each with its registry; a member derives from `sacpipe.tracking.tracker.TrackerConfig`."""


class Address(NamedTuple):
    """Address of a registered policy: `models:/NAME@ALIAS` or `models:/NAME/VERSION`."""

    name: str
    which: str
    """Alias or version number."""
    is_alias: bool

    def __str__(self) -> str:
        """Return the address as a text."""
        return f"{SCHEME}{self.name}{'@' if self.is_alias else '/'}{self.which}"


def parse_address(text: str, argument: str = "policy") -> Address:
    """Read an address of the registry.

    Args:
        text: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        argument: Name of the argument that has it, for the message.

    Raises:
        ConfigError: the text is not such an address.
    """
    rest = text.removeprefix(SCHEME)
    is_alias = "@" in rest
    name, _, which = rest.partition("@" if is_alias else "/")
    is_address = text.startswith(SCHEME) and _NAME.fullmatch(name) and _NAME.fullmatch(which)
    if not is_address or not (is_alias or _VERSION.fullmatch(which)):
        raise ConfigError(
            f"{argument}: expected models:/NAME@ALIAS or models:/NAME/VERSION, found {text[:200]!a}. "
            "A version is a number."
        )
    return Address(name, which, is_alias)


class RegistryConfig(Config):
    """What a robot needs of a tracker's section.

    `state` is a project's folder of local files; None on a robot, where `variables` name the registry.
    """

    name: str

    def source(self, address: Address, state: Path | None, variables: Mapping[str, str]) -> Source:
        """Return the source of an alias or a version.

        Raises:
            ConfigError: the variables name no registry that can be read.
        """
        raise NotImplementedError


if TYPE_CHECKING:
    _Tracking: TypeAlias = Config
else:
    _Tracking = member_field(TRACKERS)


class _Settings(Config):
    """The file sacpipe.yaml of a project."""

    tracking: _Tracking
    report: tuple[str, ...] = ()
    """Import paths of the project's sections of the report, `module:function`."""


def choose_registry(settings: Path | None, variables: Mapping[str, str] = os.environ) -> RegistryConfig:
    """Return the chosen tracker's section: from SACPIPE_TRACKING, else from a project's file, else MLflow's.

    Args:
        settings: The project's sacpipe.yaml, which may be missing; None on a robot.
        variables: Environment variables.

    Raises:
        ConfigError: no such tracker, with the nearest names first; or the file is wrong.
    """
    tree: dict[str, Any] = {"tracking": variables.get(CHOICE) or DEFAULT}
    source = CHOICE
    if not variables.get(CHOICE) and settings is not None and settings.exists():
        tree, source = tree | read_yaml(settings), str(settings)
    if isinstance(name := tree.get("tracking"), str):
        tree["tracking"] = {"name": name}
    chosen = _Settings.parse(tree, source=source).tracking
    if not isinstance(chosen, RegistryConfig):
        raise ConfigError(f"{source}: tracking: expected a TrackerConfig, found {type(chosen).__name__}.")
    return chosen
