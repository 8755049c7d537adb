"""A record of the release history, format 1: one file, whose digest the next record names as its parent.

    release/NAME/history/000004-1f3a5b7c9d0e.json    number, and first 12 digits of the digest

The digest of a record is the SHA-256 of its file's bytes. docs/release.md lists the fields.
"""

import re
from functools import cached_property, lru_cache
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from sacpipe.core.config import Config
from sacpipe.core.files import canonical_json, sha256_bytes
from sacpipe.release.world import Actor

FORMAT_VERSION: Literal[1] = 1
_SHA256 = r"^[0-9a-f]{64}$"
_FILE_NAME = re.compile(r"(\d{6,})-([0-9a-f]{12})\.json")

Kind = Literal[
    "intended", "moved", "proven", "restored", "refused", "barred", "allowed", "adopted", "resolved"
]
"""What happened:

    intended    the alias is about to move; nothing has moved yet
    moved       the registry gave the new version when it was asked again
    proven      the new champion's bytes came back from the registry and computed their golden actions
    restored    the move was undone, or never began
    refused     the release gate refused the bundle
    barred      the bundle was rolled back: nothing may promote it
    allowed     the bar was lifted, by `promote --again`
    adopted     an alias that was moved by hand is accepted as the champion
    resolved    a fork, or the loss of the newest records, was repaired
"""
Action = Literal["promote", "rollback", "adopt", "restore", "resolve"]
_SETTLING = {"proven", "restored", "adopted", "resolved"}
"""Kinds after which the record's `to` is the champion."""


class Release(Config):
    """A version and its bundle. The digest is the identity; a rebuilt registry may count otherwise."""

    version: int = Field(ge=1)
    bundle: str = Field(pattern=_SHA256)
    """SHA-256 of the bundle's manifest."""

    def __str__(self) -> str:
        """Return both, the digest shortened."""
        return f"version {self.version} (bundle {self.bundle[:12]})"


class Record(Config):
    """One record."""

    format_version: Literal[1]
    number: int = Field(ge=1)
    """One more than the highest number of its parents; the first record has 1."""
    parents: tuple[str, ...]
    """Digest of the record before; none for the first one, several where a fork was resolved."""
    kind: Kind
    action: Action
    """The command that wrote it."""
    time: str
    """UTC, ISO 8601."""
    actor: Actor
    model: str
    """Registered name."""
    before: Release | None
    """What the alias named before; None where it named nothing."""
    to: Release | None
    """What the alias names afterwards; of `refused`, `barred` and `allowed` the bundle concerned."""
    reason: str
    verdict: str | None
    """SHA-256 of the release gate's verdict, in release/NAME/verdicts/; None where none was asked for."""
    commit: str | None
    """Commit that holds the parameters, the code and the lock entries of `to`."""
    entries: dict[str, dict[str, JsonValue]]
    """Entries of dvc.lock of `to` by stage; their bytes are in DVC's cache."""

    @cached_property
    def data(self) -> bytes:
        """Bytes of the record's file."""
        return canonical_json(self.as_tree()).encode() + b"\n"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of these bytes: the record's digest."""
        return sha256_bytes(self.data)

    @property
    def file_name(self) -> str:
        """Name of the record's file."""
        return f"{self.number:06d}-{self.sha256[:12]}.json"

    @property
    def settles(self) -> bool:
        """Whether the champion is known after this record; it is not between `intended` and its end."""
        return self.kind in _SETTLING

    @property
    def is_open(self) -> bool:
        """Whether a move began and has no end yet."""
        return self.kind in {"intended", "moved"}

    def text(self) -> str:
        """Return the record as one line for people."""
        what = str(self.to or "no champion")
        if self.settles or self.is_open:
            what = f"{self.before or 'none'} -> {self.to or 'none'}"
        head = f"{self.number:>4}  {self.time}  {self.kind:<9} {self.action:<9}"
        return f"{head} {what}, by {self.actor}: {self.reason}"


@lru_cache(maxsize=100_000)
def read_record(name: str, data: bytes) -> Record | str:
    """Return the record of a file, or what is wrong with it. Equal bytes are read once in a process."""
    parts = _FILE_NAME.fullmatch(name)
    if parts is None:
        return f"{name} is no record"
    if sha256_bytes(data)[:12] != parts[2]:
        return f"{name} was edited or cut short: its SHA-256 begins with {sha256_bytes(data)[:12]}"
    try:
        record = Record.model_validate_json(data)
    except ValidationError as exc:
        fault = exc.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        return f"{name} is no record of format {FORMAT_VERSION}: {where}: {fault['msg']}"
    if record.number != int(parts[1]):
        return f"{name} holds record {record.number}: it is a copy, or was renamed"
    return record
