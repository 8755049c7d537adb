"""What the records on a disk say, read by other code than the product's: the invariants are compared with it."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from simulated.disk import SimulatedDisk

MODEL = "walker"
FOLDER = f"release/{MODEL}"
HISTORY = f"{FOLDER}/history"
_READINGS: "WeakKeyDictionary[SimulatedDisk, tuple[int, Reading]]" = WeakKeyDictionary()
_SETTLING = {"proven", "restored", "adopted", "resolved"}


@dataclass(frozen=True)
class Entry:
    """What a record says."""

    digest: str
    number: int
    parents: tuple[str, ...]
    kind: str
    action: str
    before: str | None
    """Bundle's digest."""
    to: str | None
    verdict: str | None
    """Digest of a verdict's file."""


@lru_cache(maxsize=200_000)
def _entry(data: bytes) -> Entry | None:
    try:
        tree: dict[str, Any] = json.loads(data)
        before, to = ((tree[key] or {}).get("bundle") for key in ("before", "to"))
        parents = tuple(tree["parents"])
        digest = hashlib.sha256(data).hexdigest()
        return Entry(
            digest, tree["number"], parents, tree["kind"], tree["action"], before, to, tree["verdict"]
        )
    except (ValueError, KeyError, TypeError):
        return None


def read(disk: SimulatedDisk) -> "Reading":
    """Return the records of a disk as they are now."""
    edition, reading = _READINGS.get(disk, (-1, None))
    if reading is None or edition != disk.edition:
        reading = Reading(disk)
        _READINGS[disk] = (disk.edition, reading)
    return reading


class Reading:
    """The records of one disk."""

    def __init__(self, disk: SimulatedDisk) -> None:
        names = disk.files(HISTORY)
        entries = (_entry(data) for path, data in names.items() if "/." not in path)
        found = [entry for entry in entries if entry is not None]
        found.sort(key=lambda entry: (entry.number, entry.digest))
        self.entries = {entry.digest: entry for entry in found}
        followed = {parent for entry in found for parent in entry.parents}
        self.tips = [entry for entry in found if entry.digest not in followed]

    @property
    def tip(self) -> Entry | None:
        """The newest record."""
        return self.tips[-1] if self.tips else None

    def chain(self) -> list[Entry]:
        """Return the records from the tip back, by first parents."""
        found, entry = [], self.tip
        while entry is not None:
            found.append(entry)
            entry = self.entries.get(entry.parents[0]) if entry.parents else None
        return found

    def champion(self) -> str | None:
        """Return the digest of the champion's bundle."""
        return next((entry.to for entry in self.chain() if entry.kind in _SETTLING), None)

    def open_intent(self) -> Entry | None:
        """Return the record `intended` of a move without an end."""
        tip = self.tip
        if tip is None or tip.kind not in {"intended", "moved"}:
            return None
        return next((entry for entry in self.chain() if entry.kind == "intended"), None)

    def barred(self) -> set[str]:
        """Return the digests that no command may promote."""
        found: set[str] = set()
        for entry in self.entries.values():
            if entry.kind == "barred" and entry.to:
                found.add(entry.to)
            elif entry.kind == "proven" and entry.action == "rollback" and entry.before:
                found.add(entry.before)
            elif entry.kind == "allowed" and entry.to:
                found.discard(entry.to)
        return found

    def former(self) -> list[str]:
        """Return the champions before the present one, newest first, once each."""
        settled = [entry.to for entry in self.chain() if entry.kind in _SETTLING and entry.to]
        return [digest for digest in dict.fromkeys(settled) if digest != self.champion()]
