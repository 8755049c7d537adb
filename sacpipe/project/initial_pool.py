"""The pool a training began with: as params name it, as it lies here, and as DVC keeps it under a commit.

Floor 5. params.yaml names it by the SHA-256 of its manifest, so the stage key holds it, and dvc.yaml need not
name a folder that most projects lack. docs/decisions/0010 says why.
"""

import contextlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.project.dvc.commands import DvcStore
from sacpipe.project.git import GitTree, in_repository
from sacpipe.project.workspace import Workspace
from sacpipe.replay.pool.manifest import MANIFEST_NAME

INITIAL_POOL = "data/pool"
"""Where it lies in the project, and the name of the ledger's dataset."""


def named_pool(params: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 of the initial pool's manifest, where the params name one."""
    replay = params.get("replay")
    pool = replay.get("initial_pool") if isinstance(replay, Mapping) else None
    return str(pool.get("sha256")) if isinstance(pool, Mapping) else None


def with_initial_pool(workspace: Workspace, sha256: str, share: float) -> str:
    """Return the text of params.yaml with that one value changed and every comment kept.

    Args:
        workspace: Whose params.yaml.
        sha256: Of the pool's manifest.
        share: Of every batch, more than 0 and at most 1.

    Raises:
        ConfigError: params.yaml does not have `initial_pool:` with its value on one line of its own.
    """
    text = workspace.params.read_text(encoding="utf-8")
    value = {"sha256": sha256, "share": share}
    line = f'{{sha256: "{sha256}", share: {share}}}'  # without quotes, digits alone would be a number
    changed = re.sub(r"(?m)^( +initial_pool:)(?:[^#\n]*?)( *#.*)?$", rf"\1 {line}\2", text)
    wanted = read_yaml(workspace.params)
    with contextlib.suppress(YAMLError, KeyError, TypeError):
        wanted["replay"] = dict(wanted["replay"]) | {"initial_pool": value}
        if YAML(typ="safe").load(changed) == wanted:
            return changed
    raise ConfigError(
        f"{workspace.params}: expected `initial_pool:` under `replay:` with its value on the same line. "
        f"Set it by hand: initial_pool: {line}"
    )


def manifest_sha256(pool: Path) -> str | None:
    """Return the SHA-256 of a pool's manifest, or None where there is none."""
    path = pool / MANIFEST_NAME
    return sha256_file(path) if path.is_file() else None


def is_tracked(root: Path, commit: str) -> bool:
    """Return whether a commit, which may be unknown here, has DVC's pointer to an initial pool."""
    try:
        return GitTree(root, commit).holds(f"{INITIAL_POOL}.dvc")
    except ConfigError:
        return False


def tracked_manifest_sha256(root: Path, commit: str) -> str:
    """Return the SHA-256 of the manifest in the pool that a commit tracks.

    Raises:
        StoreError: DVC holds it no more.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / MANIFEST_NAME
        _get(root, commit, f"{INITIAL_POOL}/{MANIFEST_NAME}", target)
        return sha256_file(target)


def place_tracked(root: Path, commit: str, destination: Path) -> None:
    """Copy the pool that a commit tracks to a folder that does not exist yet.

    Raises:
        StoreError: DVC holds it no more.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    _get(root, commit, INITIAL_POOL, destination)


def _get(root: Path, commit: str, path: str, destination: Path) -> None:
    repository, inside = in_repository(root, path)
    DvcStore(root).get(repository, inside, commit, destination)
