"""The files of a tracking folder, format 1: paths, models, and how they are read and written.

    runs/KEY/run.json               a run: stage, status, parameters, tags, metrics, pools, models
    runs/KEY/rows.jsonl             rows of metrics; a last line without its end was cut short by a crash
    runs/KEY/stage.json             the stage's entry of dvc.lock
    bundles/DIGEST/                 a bundle, by the SHA-256 of its manifest.json
    policies/NAME/versions/N.json   a version
    policies/NAME/aliases/ALIAS     the number of the version that the alias names
    lock                            held while a process writes

Every file is replaced by a rename, so readers need no lock. A name is percent-encoded, its dots too.
docs/ledger.md lists the fields.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote, unquote

from pydantic import Field

from sacpipe.bundle.files import read_files
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, StoreError
from sacpipe.core.files import make_folder, read_json, storage_errors, sync_folder, write_bytes, write_json
from sacpipe.core.locks import wait_for

FORMAT_VERSION: Literal[1] = 1
REBUILD = "`sacpipe ledger rebuild` moves the project's own ledger aside and writes it again."


class PoolEntry(Config):
    """One input of a run."""

    content_digest: str
    """DVC's digest of the pool, or the SHA-256 of its manifest."""
    context: str


class RunFile(Config):
    """run.json."""

    format_version: Literal[1]
    stage_key: str
    stage: str
    status: Literal["RUNNING", "FINISHED", "FAILED"]
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    pools: dict[str, PoolEntry]
    """By path relative to the project's folder."""
    models: list[str]
    """Digests of the bundles that the run made."""
    record_sha256: str | None
    """SHA-256 of stage.json."""


class VersionFile(Config):
    """versions/N.json."""

    format_version: Literal[1]
    version: int = Field(ge=1)
    run_id: str
    model_id: str = Field(pattern="^[0-9a-f]{64}$")
    """Digest of the bundle."""
    tags: dict[str, str]


_File = TypeVar("_File", RunFile, VersionFile)


class TrackingFolder:
    """Paths of a tracking folder. Nothing is made before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def run(self, key: str) -> Path:
        """Return the folder of a run."""
        return self.root / "runs" / _encoded(key)

    def bundle(self, digest: str) -> Path:
        """Return the folder of a bundle."""
        return self.root / "bundles" / _encoded(digest)

    def versions(self, name: str) -> Path:
        """Return the folder of the versions of a policy."""
        return self.root / "policies" / _encoded(name) / "versions"

    def alias(self, name: str, alias: str) -> Path:
        """Return the file of an alias."""
        return self.root / "policies" / _encoded(name) / "aliases" / _encoded(alias)

    def aliases(self, name: str) -> dict[str, int]:
        """Return the number of the version that each alias names.

        Raises:
            StoreError: a file holds no number.
        """
        found = {}
        for path in _visible(self.alias(name, "x").parent):
            text = read_json(path, StoreError)
            if type(text) is not int:
                raise StoreError(f"{path}: expected the number of a version, found another value. {REBUILD}")
            found[unquote(path.name)] = text
        return found

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock: one process writes at a time, and others wait.

        Raises:
            StorageError: the folder cannot be written.
        """
        with storage_errors(self.root):
            make_folder(self.root)
        with wait_for(self.root / "lock"), storage_errors(self.root):
            yield

    def add_bundle(self, digest: str, folder: Path) -> None:
        """Copy a bundle; one that is complete already stays. The caller holds the lock and has checked it.

        Raises:
            BundleError: the folder holds no bundle.
        """
        target = self.bundle(digest)
        if target.exists():
            return
        partial = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        for name, data in read_files(folder, follow_cache_links=True).items():
            write_bytes(partial / name, data)
        partial.rename(target)
        sync_folder(target.parent)

    def check(self) -> None:
        """Read every record.

        Raises:
            StoreError: one is damaged or of another format.
        """
        for path in sorted(self.root.glob("runs/*/run.json")):
            read_file(RunFile, path)
        for policy in _visible(self.root / "policies"):
            self.read_versions(unquote(policy.name))
            self.aliases(unquote(policy.name))

    def read_versions(self, name: str) -> list[VersionFile]:
        """Read the versions of a policy, oldest first.

        Raises:
            StoreError: one is damaged or of another format.
        """
        found = [read_file(VersionFile, path) for path in _visible(self.versions(name))]
        return sorted(found, key=lambda one: one.version)


def read_file(kind: type[_File], path: Path) -> _File:
    """Read a record.

    Raises:
        StoreError: it is missing, damaged or of another format.
    """
    try:
        return kind.parse(read_json(path, StoreError), source=str(path))
    except ConfigError as exc:
        raise StoreError(f"{exc}. {REBUILD}") from exc


def write_file(path: Path, record: RunFile | VersionFile) -> None:
    """Write a record atomically."""
    write_json(path, record.as_tree())


def _encoded(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")


def _visible(folder: Path) -> list[Path]:
    """Return the entries of a folder but those of writes in progress; none where there is no folder."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise StoreError(f"{folder} cannot be read: {exc}. Make it readable for this user.") from exc
