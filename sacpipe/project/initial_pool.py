"""The initial pool of a training: the one params.yaml names, the one in data/pool, and the one DVC tracks.

params.yaml names it by the SHA-256 of its manifest. So the stage key holds it, and dvc.yaml need not name a
folder that most projects lack. docs/decisions/0010 gives the reasons.
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
"""Path of the initial pool in the project, and name of the ledger's dataset."""


def named_pool(params: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 of the initial pool's manifest, or None where the params name no pool."""
    replay = params.get("replay")
    pool = replay.get("initial_pool") if isinstance(replay, Mapping) else None
    return str(pool.get("sha256")) if isinstance(pool, Mapping) else None


def initial_pool_line(sha256: str, share: float) -> str:
    """Return the line of params.yaml, under `replay:`, that names an initial pool."""
    # Unquoted, a digest of digits alone is a number.
    return f'initial_pool: {{sha256: "{sha256}", share: {share}}}'


def with_initial_pool(workspace: Workspace, sha256: str, share: float) -> str:
    """Return the text of params.yaml with `initial_pool` set and every comment kept.

    Args:
        workspace: The project that has params.yaml.
        sha256: SHA-256 of the pool's manifest.
        share: Share of every batch, more than 0 and at most 1.

    Raises:
        ConfigError: params.yaml does not have `initial_pool:` and its value on one line.
    """
    text = workspace.params.read_text(encoding="utf-8")
    value = {"sha256": sha256, "share": share}
    line = initial_pool_line(sha256, share)
    changed = re.sub(r"(?m)^( +)initial_pool:(?:[^#\n]*?)( *#.*)?$", rf"\1{line}\2", text)
    wanted = read_yaml(workspace.params)
    with contextlib.suppress(YAMLError, KeyError, TypeError):
        wanted["replay"] = dict(wanted["replay"]) | {"initial_pool": value}
        if YAML(typ="safe").load(changed) == wanted:
            return changed
    raise ConfigError(
        f"{workspace.params}: expected `initial_pool:` under `replay:` with its value on the same line. "
        f"Set it by hand: {line}"
    )


def manifest_sha256(pool: Path) -> str | None:
    """Return the SHA-256 of a pool's manifest, or None where there is no manifest."""
    path = pool / MANIFEST_NAME
    return sha256_file(path) if path.is_file() else None


def is_tracked(root: Path, commit: str, path: str = INITIAL_POOL) -> bool:
    """Return whether a commit has DVC's pointer to a folder; False where the commit is not here."""
    try:
        return GitTree(root, commit).holds(f"{path}.dvc")
    except ConfigError:
        return False


def tracked_manifest_sha256(root: Path, commit: str) -> str:
    """Return the SHA-256 of the manifest in the pool that a commit tracks.

    Raises:
        StoreError: neither DVC's cache nor its remote holds the pool.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / MANIFEST_NAME
        place_tracked(root, commit, target, f"{INITIAL_POOL}/{MANIFEST_NAME}")
        return sha256_file(target)


def place_tracked(root: Path, commit: str, destination: Path, path: str = INITIAL_POOL) -> None:
    """Copy a folder that a commit tracks to another, which must not exist.

    Raises:
        StoreError: neither DVC's cache nor its remote holds it.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    repository, inside = in_repository(root, path)
    DvcStore(root).get(repository, inside, commit, destination)
