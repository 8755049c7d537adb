"""The tracker that a workspace chose, and the source of a policy: a path, or an address of the registry."""

import os
from pathlib import Path

from sacpipe.core.errors import ConfigError
from sacpipe.core.fence import fenced
from sacpipe.project.tracked_output import is_own_output
from sacpipe.project.workspace import Workspace
from sacpipe.rollout.registries import SCHEME, choose_registry, parse_address
from sacpipe.rollout.sources import PathSource, Source
from sacpipe.tracking.tracker import Tracker, TrackerConfig


def chosen_tracker(workspace: Workspace) -> TrackerConfig:
    """Return the section of the workspace's tracker. Errors of another package's are StoreErrors.

    Raises:
        ConfigError: there is no such tracker, or sacpipe.yaml is wrong.
    """
    chosen = choose_registry(workspace.settings, os.environ)
    if not isinstance(chosen, TrackerConfig):
        raise ConfigError(f"tracker '{chosen.name}': expected a subclass of TrackerConfig.")
    return fenced(chosen, f"tracker '{chosen.name}'")


def open_ledger(workspace: Workspace) -> Tracker:
    """Return the tracker of a workspace, fenced as its section. The first call on it opens what it needs.

    Raises:
        ConfigError: as `chosen_tracker`.
    """
    chosen = chosen_tracker(workspace)
    opened = chosen.open_tracker(workspace.state, os.environ)
    return fenced(opened, f"tracker '{chosen.name}'", parts=("registry",))


def open_source(text: str) -> Source:
    """Open `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a bundle's folder or its tar file.

    Raises:
        ConfigError: the address is malformed, or neither a workspace nor a variable names a registry.
    """
    if not text.startswith(SCHEME):
        path = Path(text)  # DVC's caches make hard links
        return PathSource(path, allow_hard_links=True, follow_cache_links=is_own_output(path))
    address, state = parse_address(text), Workspace.local_files()
    if state is None:
        return choose_registry(None, os.environ).source(address, None, os.environ)
    return chosen_tracker(Workspace.with_tools()).source(address, state, os.environ)
