"""The files of a tracking folder. docs/ledger.md lists their fields and formats.

    runs/KEY/run.json      a run
    runs/KEY/rows.jsonl    its rows of metrics
    runs/KEY/stage.json    its stage's entry of dvc.lock
    bundles/DIGEST/        a bundle, by the SHA-256 of its manifest.json
    policies/NAME.json     the versions of a policy, their aliases, and the policy's tags
    policies/NAME.lock     held during a release command on the policy
    lock                   held while a process writes

Every file is replaced by a rename, so that readers need no lock and no permission to write.
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, StorageError, StoreError
from sacpipe.core.files import (
    make_folder,
    read_json,
    read_regular_file,
    sha256_bytes,
    storage_errors,
    write_bytes,
)
from sacpipe.core.locks import hold
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Run

FORMAT_VERSION: Literal[1] = 1
POLICY_FORMAT_VERSION: Literal[2] = 2
_MAX_BYTES = 2**24
_MAX_NAME_BYTES = 200
REPLACE = "Move the file away; `sacpipe ledger rebuild` then writes its records again."


_Number = Annotated[str, Field(pattern="^[0-9]{1,18}$")]


class RunFile(Config):
    """run.json."""

    format_version: Literal[1]
    run: Run


class PolicyFile(Config):
    """policies/NAME.json. Format 1 has `versions` alone, whose records have no description."""

    format_version: Literal[1, 2]
    versions: list[VersionRecord] = Field(default_factory=list)
    """Oldest first."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of the registered name."""
    deleted: dict[_Number, str] = Field(default_factory=dict)
    """Digest of the bundle of each deleted version, by its number."""

    @property
    def next_number(self) -> int:
        """Number after the highest one that was ever given."""
        return max([0, *(one.version for one in self.versions), *map(int, self.deleted)]) + 1


Record = TypeVar("Record", RunFile, PolicyFile)


class TrackingFolder:
    """A tracking folder. Nothing is made before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def path(self, kind: Literal["runs", "bundles", "policies"], name: str) -> Path:
        """Return the path of an entry: its name percent-encoded, or the SHA-256 of one that is too long."""
        encoded = quote(name, safe=" ").replace(".", "%2E")
        is_long = len(encoded) > _MAX_NAME_BYTES
        return self.root / kind / (sha256_bytes(name.encode()) if is_long else encoded)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock: one process writes at a time, and others wait.

        Raises:
            StoreError: the folder cannot be written, by the lock or by the caller.
        """
        try:
            with storage_errors(self.root):
                make_folder(self.root)
                with hold(self.root / "lock"):
                    yield
        except StorageError as exc:
            raise StoreError(str(exc)) from exc

    def check(self) -> None:
        """Read every record. One that another process discards meanwhile is left out.

        Raises:
            StoreError: one is damaged or of another format.
        """
        for path in self.root.glob("runs/*/run.json"):
            find(RunFile, path)
        for path in self.root.glob("policies/*.json"):
            find(PolicyFile, path)
        for path in self.root.glob("runs/*/rows.jsonl"):
            self.rows(path.parent.name)

    def write_bundle(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a bundle that differ, and remove what is no file of it.

        Raises:
            StoreError: the folder cannot be written.
        """
        target = self.path("bundles", digest)
        with self.locked():
            for name, data in files.items():
                if not (target / name).is_file() or (target / name).read_bytes() != data:
                    if (target / name).is_dir():
                        shutil.rmtree(target / name)
                    write_bytes(target / name, data)
            for path in target.iterdir():  # a bundle with another file is refused
                if path.name in files:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def rows(self, run_id: str) -> str:
        """Read the rows of a run; none where there is no file.

        Raises:
            StoreError: they cannot be read, or are no text.
        """
        path = self.path("runs", run_id) / "rows.jsonl"
        try:
            return read_regular_file(path).decode()
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as exc:
            raise StoreError(f"{path} cannot be read: {exc}. {REPLACE}") from exc


def find(kind: type[Record], path: Path) -> Record | None:
    """Read a record; None where there is none.

    Raises:
        StoreError: it is damaged, of another format, or larger than any that sacpipe writes.
    """
    try:
        return kind.parse(read_json(path, ConfigError, _MAX_BYTES), source=str(path))
    except ConfigError as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            return None
        raise StoreError(f"{str(exc).rstrip('.')}. {REPLACE}") from exc
