"""The files of a tracking folder, format 1. docs/ledger.md lists their fields.

    runs/KEY/run.json      a run
    runs/KEY/rows.jsonl    its rows of metrics
    runs/KEY/stage.json    its stage's entry of dvc.lock
    bundles/DIGEST/        a bundle, by the SHA-256 of its manifest.json
    policies/NAME.json     the versions of a policy, and their aliases
    lock                   held while a process writes

Every file is replaced by a rename, so that readers need no lock and no permission to write.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, StoreError
from sacpipe.core.files import make_folder, read_json, storage_errors, write_json
from sacpipe.core.locks import hold
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Run

FORMAT_VERSION: Literal[1] = 1
_MAX_BYTES = 2**24
REBUILD = "`sacpipe ledger rebuild` writes the ledger again."


class RunFile(Config):
    """run.json."""

    format_version: Literal[1]
    run: Run


class PolicyFile(Config):
    """policies/NAME.json."""

    format_version: Literal[1]
    versions: list[VersionRecord]
    """Oldest first."""


Record = TypeVar("Record", RunFile, PolicyFile)


class TrackingFolder:
    """A tracking folder. Nothing is made before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def path(self, kind: Literal["runs", "bundles", "policies"], name: str) -> Path:
        """Return the path of an entry. Its name is percent-encoded, with its dots."""
        return self.root / kind / quote(name, safe=" ").replace(".", "%2E")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock: one process writes at a time, and others wait.

        Raises:
            StorageError: the folder cannot be written.
        """
        with storage_errors(self.root):
            make_folder(self.root)
            with hold(self.root / "lock"):
                yield

    def check(self) -> None:
        """Read every record.

        Raises:
            StoreError: one is damaged or of another format.
        """
        for path in self.root.glob("runs/*/run.json"):
            read(RunFile, path)
        for path in self.root.glob("policies/*.json"):
            read(PolicyFile, path)


def read(kind: type[Record], path: Path) -> Record:
    """Read a record.

    Raises:
        StoreError: it is missing, damaged or of another format.
    """
    try:
        return kind.parse(read_json(path, StoreError), source=str(path))
    except ConfigError as exc:
        raise StoreError(f"{exc}. {REBUILD}") from exc


def find(kind: type[Record], path: Path) -> Record | None:
    """Read a record; None where there is none.

    Raises:
        StoreError: as `read`, or the record is larger than any that sacpipe writes.
    """
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc}. Make it readable for this user.") from exc
    if size_bytes > _MAX_BYTES:
        raise StoreError(f"{path}: expected at most {_MAX_BYTES} bytes, found {size_bytes}. {REBUILD}")
    return read(kind, path)


def write(path: Path, record: RunFile | PolicyFile) -> None:
    """Replace a record. The caller holds the lock."""
    write_json(path, record.as_tree())
