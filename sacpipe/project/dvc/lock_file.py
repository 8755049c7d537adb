"""dvc.lock: the entry of each stage, with the digests of its inputs and outputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from sacpipe.core.config import load_yaml
from sacpipe.core.errors import StoreError

LockEntries = Mapping[str, Mapping[str, Any]]
"""Entries of a dvc.lock by stage."""


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of dvc.lock by stage; none where the file is missing.

    Raises:
        StoreError: the file is not a lock file of DVC 2 or 3.
    """
    try:
        tree = load_yaml(path)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, YAMLError) as exc:
        fault = " ".join(str(exc).split())
        raise StoreError(f"{path} cannot be read: {fault}. `git checkout dvc.lock` restores it.") from exc
    if not isinstance(tree, Mapping) or str(tree.get("schema")) != "2.0":
        found = f"schema {tree.get('schema')}" if isinstance(tree, Mapping) else type(tree).__name__
        raise StoreError(f"{path}: expected schema 2.0, found {found}. `git checkout dvc.lock` restores it.")
    return dict(tree.get("stages") or {})
