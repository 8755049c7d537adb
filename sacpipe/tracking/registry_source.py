"""The source of a served policy: a path, or an address in the registry of the chosen tracker."""

import os
from pathlib import Path

from sacpipe.project.tracked_output import is_own_output
from sacpipe.project.workspace import Workspace
from sacpipe.rollout.registries import SCHEME, choose_registry, parse_address
from sacpipe.rollout.sources import PathSource, Source


def open_source(text: str) -> Source:
    """Open `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a bundle's folder or its tar file.

    Raises:
        ConfigError: the address is malformed, or neither a workspace nor a variable names a registry.
    """
    if not text.startswith(SCHEME):
        path = Path(text)  # DVC's caches make hard links
        return PathSource(path, allow_hard_links=True, follow_cache_links=is_own_output(path))
    address, state = parse_address(text), Workspace.local_files()
    chosen = choose_registry(None) if state is None else Workspace.with_tools().tracking()
    return chosen.source(address, state, os.environ)
