"""The stage key: one digest of all a stage depends on, the same from disk, from a commit and from dvc.lock.

The key is the SHA-256 of the canonical JSON of `cmd`, `deps` (path to MD5) and `params` (file to key to
value). It names the resume folder work/<key>/, the ledger's run and the flow's run, so that `dvc repro`
alone and `sacpipe run` continue the same work. A stage computes it while it runs, without DVC; afterwards
dvc.lock holds the same digests.

The digests follow DVC's rules: a file has the MD5 of its bytes; a folder has the MD5 of the JSON listing
of its files, with `.dir` appended; paths that .dvcignore in the project's folder names are left out; a
parameter is a top-level section or a dotted key of a YAML 1.2 file.
References: dvc_data/hashfile/tree.py, dvc/dependency/param.py and dvc/ignore.py of DVC 3.67.
"""

import hashlib
import json
import math
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pathspec

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError, StoreError
from sacpipe.core.files import canonical_json, sha256_bytes
from sacpipe.project.workspace import Workspace

ALWAYS_IGNORED = (".hg/", ".git/", ".git", ".dvc/")
"""Patterns that DVC leaves out of every folder."""

_UNREADABLE = ("foreach", "matrix", "do", "wdir", "vars")
_LARGEST_EXACT_INT = 2**53


class Tree(Protocol):
    """A project's files, on disk or in a commit. Paths are relative and use `/`."""

    def yaml(self, path: str) -> dict[str, Any]:
        """Return a YAML mapping; ConfigError where the path holds none."""

    def files(self, path: str) -> list[str] | None:
        """Return the paths below a folder, relative to it; None for a file; ConfigError if missing."""

    def md5(self, path: str) -> str:
        """Return the MD5 of a file's bytes."""

    def holds(self, path: str) -> bool:
        """Return whether the path is a file or a folder with files."""

    def ignored(self) -> list[str]:
        """Return the lines of .dvcignore."""


@dataclass(frozen=True)
class StageInputs:
    """All a stage depends on."""

    cmd: str | list[str]
    deps: dict[str, str]
    """DVC's digest of each dependency; a folder's ends in `.dir`."""
    params: dict[str, dict[str, Any]]
    """Values by file, then by section or dotted key."""

    @property
    def key(self) -> str:
        """The stage key."""
        return _digest({"cmd": self.cmd, "deps": self.deps, "params": self.params})

    @property
    def params_digest(self) -> str:
        """SHA-256 of the parameters alone."""
        return _digest(self.params)

    def differences(self, other: "StageInputs") -> list[str]:
        """Return what differs: paths of dependencies, `params` for params.yaml, other params files, `cmd`.

        A path that one of the two does not name differs in dvc.yaml, whatever the file holds.
        """
        names = sorted(
            path if path in self.deps and path in other.deps else f"dvc.yaml ({path})"
            for path in self.deps.keys() | other.deps.keys()
            if self.deps.get(path) != other.deps.get(path)
        )
        files = sorted(self.params.keys() | other.params.keys())
        names += [
            "params" if file == "params.yaml" else file
            for file in files
            if _digest(self.params.get(file)) != _digest(other.params.get(file))
        ]
        return names + (["cmd"] if self.cmd != other.cmd else [])


@dataclass(frozen=True)
class DiskTree:
    """The files in the project's folder."""

    root: Path

    def yaml(self, path: str) -> dict[str, Any]:
        """Read a YAML mapping."""
        return read_yaml(self.root / path)

    def files(self, path: str) -> list[str] | None:
        """List a folder. As in DVC, links to folders are not followed."""
        target = self.root / path
        if target.is_file():
            return None
        if not target.is_dir():
            raise ConfigError(f"{target} is missing. `dvc repro` makes it, or `dvc checkout` restores it.")
        return [
            (Path(folder) / name).relative_to(target).as_posix()
            for folder, _, names in os.walk(target)
            for name in names
        ]

    def md5(self, path: str) -> str:
        """Hash a file's bytes."""
        with (self.root / path).open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()

    def holds(self, path: str) -> bool:
        """Return whether the path exists."""
        return (self.root / path).exists()

    def ignored(self) -> list[str]:
        """Read .dvcignore; no lines where there is no such file."""
        path = self.root / ".dvcignore"
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def stage_key(workspace: Workspace, stage: str) -> str:
    """Return the key of a stage from its inputs on disk.

    Raises:
        ConfigError: dvc.yaml or params.yaml lacks what the stage needs, or a dependency is missing.
    """
    return stage_inputs(DiskTree(workspace.root), stage).key


def stage_inputs(tree: Tree, stage: str, elsewhere: Mapping[str, str] | None = None) -> StageInputs:
    """Read a stage from dvc.yaml and hash what it depends on.

    Args:
        tree: Holds dvc.yaml, the parameters and the dependencies.
        stage: Name of the stage.
        elsewhere: Digests of outputs of other stages, which no commit holds.

    Raises:
        ConfigError: as `stage_key`.
    """
    stages = tree.yaml("dvc.yaml").get("stages") or {}
    if stage not in stages:
        raise ConfigError(f"dvc.yaml: no stage '{stage}'; it has {', '.join(stages) or 'none'}.")
    entry = stages[stage]
    templated = [name for name in _UNREADABLE if name in entry]
    if templated or "${" in json.dumps(entry, default=str):
        raise ConfigError(
            f"dvc.yaml: stage '{stage}' uses {', '.join(templated) or '${}'}, which the stage key "
            "does not read. Write the stage out in full."
        )
    known = elsewhere or {}
    return StageInputs(
        cmd=entry["cmd"],
        deps={
            path: known[path] if path in known and not tree.holds(path) else dvc_md5(tree, path)
            for path in map(posixpath.normpath, entry.get("deps") or ())
        },
        params=_read_params(tree, entry.get("params") or (), stage),
    )


def locked_inputs(entry: Mapping[str, Any]) -> StageInputs:
    """Read a stage's inputs from its entry in dvc.lock.

    Raises:
        StoreError: a dependency carries no MD5.
    """
    return StageInputs(
        cmd=entry["cmd"],
        deps=_locked_digests(entry.get("deps") or ()),
        params={file: dict(values) for file, values in (entry.get("params") or {}).items()},
    )


def locked_outs(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return DVC's digest of each output in a stage's entry in dvc.lock.

    Raises:
        StoreError: an output carries no MD5.
    """
    return _locked_digests(entry.get("outs") or ())


def dvc_md5(tree: Tree, path: str) -> str:
    """Return DVC's digest of a file or a folder.

    Raises:
        ConfigError: the path does not exist.
    """
    path = posixpath.normpath(path)
    names = tree.files(path)
    if names is None:
        return tree.md5(path)
    spec = pathspec.GitIgnoreSpec.from_lines([*ALWAYS_IGNORED, *tree.ignored()])
    kept = sorted(name for name in names if not spec.match_file(f"{path}/{name}"))
    listing = [{"md5": tree.md5(f"{path}/{name}"), "relpath": name} for name in kept]
    text = json.dumps(listing, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _locked_digests(items: Any) -> dict[str, str]:
    digests = {}
    for item in items:
        if "md5" not in item:
            raise StoreError(f"dvc.lock: '{item.get('path')}' has no md5. `dvc repro` writes it again.")
        digests[posixpath.normpath(item["path"])] = str(item["md5"])
    return digests


def _read_params(tree: Tree, wanted: Any, stage: str) -> dict[str, dict[str, Any]]:
    """Collect the values a stage names, by file; a file without keys means the whole file."""
    files: dict[str, list[str] | None] = {}
    for item in wanted:
        for file, keys in (item if isinstance(item, Mapping) else {"params.yaml": [item]}).items():
            known = files.setdefault(file, [])
            files[file] = None if not keys or known is None else [*known, *keys]
    params = {}
    for file, keys in files.items():
        values = tree.yaml(file)
        params[file] = values if keys is None else {key: _pick(values, key, file, stage) for key in keys}
    return params


def _pick(values: Any, key: str, file: str, stage: str) -> Any:
    """Follow a dotted key through mappings and lists."""
    for part in key.split("."):
        try:
            values = values[int(part)] if isinstance(values, list) else values[part]
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise ConfigError(
                f"{file}: '{key}' is missing; stage '{stage}' in dvc.yaml reads it. "
                "`sacpipe params TASK` prints a complete file."
            ) from exc
    return values


def _digest(value: Any) -> str:
    try:
        return sha256_bytes(canonical_json(plain(value)).encode())
    except (TypeError, ValueError) as exc:
        raise ConfigError(
            f"params.yaml holds a value that JSON cannot hold: {exc}. Write a number or a quoted text."
        ) from exc


def plain(value: Any) -> Any:
    """Write 1.0 as 1: DVC takes them for equal and runs no stage again, so the key must stay the same."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value) if abs(value) <= _LARGEST_EXACT_INT else value
    return value
