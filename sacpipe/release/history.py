"""The history of releases: chained records under git, which name what is champion and what is barred.

Nothing rewrites a record. Two clones that release at the same time make a fork, which
`history --resolve` joins. A record that was edited, dropped, doubled or reordered is named, and nothing acts
until git restores it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from sacpipe.core.errors import ReleaseError
from sacpipe.release.record import Record, Release, read_record
from sacpipe.release.world import Disk


def release_folder(model: str) -> str:
    """Return the folder of a policy's release records."""
    return f"release/{model}"


def write_durably(disk: Disk, path: str, data: bytes) -> None:
    """Write a whole file that a crash leaves either complete or absent."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.tmp"
    disk.write(temporary, data)
    disk.sync(temporary)  # before the rename: else a crash may leave the name with half of the bytes
    disk.rename(temporary, path)
    disk.sync_folder(folder)


def remove_leftovers(disk: Disk, folder: str) -> None:
    """Remove what writes that a crash cut short left behind; no other command writes there now."""
    for below in (f"{folder}/history", f"{folder}/verdicts", f"{folder}/versions"):
        for name in disk.list(below):
            if name.startswith(".") and name.endswith(".tmp"):
                disk.remove(f"{below}/{name}")


@dataclass(frozen=True)
class History:
    """The verified records of one policy."""

    model: str
    records: Mapping[str, Record]
    """Records by digest, sorted by number."""

    @cached_property
    def tips(self) -> tuple[Record, ...]:
        """Records that no other one follows; more than one in a fork."""
        followed = {parent for record in self.records.values() for parent in record.parents}
        return tuple(record for digest, record in self.records.items() if digest not in followed)

    @property
    def tip(self) -> Record | None:
        """The newest record; None in an empty history.

        Raises:
            ReleaseError: the history is forked.
        """
        if len(self.tips) > 1:
            names = "; ".join(f"{tip.number} by {tip.actor}, {tip.time}" for tip in self.tips)
            raise ReleaseError(
                f"{release_folder(self.model)}: the history is forked: {len(self.tips)} records have no "
                f'successor ({names}). `sacpipe history --resolve --reason "WHY"` joins them.'
            )
        return self.tips[0] if self.tips else None

    @property
    def champion(self) -> Release | None:
        """The champion; while a move is open, the one before the move."""
        return self.champion_at(self.tip)

    def champion_at(self, record: Record | None) -> Release | None:
        """Return the champion after a record; of several parents, the first one counts."""
        return next((one.to for one in self.chain(record) if one.settles), None)

    def chain(self, record: Record | None) -> Iterator[Record]:
        """Yield a record and its first parents, newest first."""
        while record is not None:
            yield record
            record = self.records[record.parents[0]] if record.parents else None

    def champions(self) -> list[Release]:
        """Return the champions, newest first; one that was champion twice is there twice."""
        settled = [record.to for record in self.chain(self.tip) if record.settles]
        changes = [one for one, older in pairwise([*settled, None]) if one != older]
        return [one for one in changes if one is not None]

    def before_the_champion(self) -> list[Release]:
        """Return the champions that a rollback returns to, newest first.

        A rollback forgets what was promoted after its target: of 1, 2, 3, 4 and then 2 again, there is 1.
        """
        stack: list[Release] = []
        for record in reversed(list(self.chain(self.tip))):
            if not record.settles or record.to is None:
                continue
            bundles = [one.bundle for one in stack]
            if record.action == "rollback" and record.kind == "proven" and record.to.bundle in bundles:
                del stack[len(bundles) - 1 - bundles[::-1].index(record.to.bundle) :]
            if not stack or stack[-1].bundle != record.to.bundle:
                stack.append(record.to)
        champion = self.champion
        return [one for one in reversed(stack) if champion is None or one.bundle != champion.bundle]

    def allowed(self, bundle: str) -> bool:
        """Return whether a bar of a bundle was ever lifted."""
        records = self.records.values()
        return any(one.kind == "allowed" and one.to and one.to.bundle == bundle for one in records)

    @cached_property
    def barred(self) -> Mapping[str, Record]:
        """Newest record that bars each bundle, by the bundle's digest.

        `allowed` lifts the bars that it follows: who promotes in one clone knows none of the other's.
        """
        found: dict[str, list[Record]] = {}
        for record in self.records.values():
            if record.kind == "barred" and record.to:
                found.setdefault(record.to.bundle, []).append(record)
            elif record.kind == "proven" and record.action == "rollback" and record.before:
                # A crash may come before the record `barred`.
                found.setdefault(record.before.bundle, []).append(record)
            elif record.kind == "allowed" and record.to:
                followed = self.branch(record).records
                bars = found.get(record.to.bundle, [])
                found[record.to.bundle] = [bar for bar in bars if bar.sha256 not in followed]
        return {bundle: bars[-1] for bundle, bars in found.items() if bars}

    @property
    def open_intent(self) -> Record | None:
        """The record `intended` of a move that has no end yet."""
        tip = self.tip
        if tip is None or not tip.is_open:
            return None
        return next(record for record in self.chain(tip) if record.kind == "intended")

    def branch(self, tip: Record) -> "History":
        """Return the history that ends with a record: the record and all that it follows."""
        pending, found = [tip.sha256], set[str]()
        while pending:
            if (one := pending.pop()) not in found:
                found.add(one)
                pending += self.records[one].parents
        return History(self.model, {key: one for key, one in self.records.items() if key in found})

    def after(self, record: Record) -> "History":
        """Return the history with one more record."""
        return History(self.model, {**self.records, record.sha256: record})

    def joined(self, other: "History") -> "History":
        """Return the history with the records of another one."""
        records = {**self.records, **other.records}.values()
        ordered = sorted(records, key=lambda record: (record.number, record.sha256))
        return History(self.model, {record.sha256: record for record in ordered})

    def without(self, dropped: set[str]) -> "History":
        """Return the history without some of its newest records."""
        return History(self.model, {key: one for key, one in self.records.items() if key not in dropped})


def read_history(disk: Disk, model: str) -> History:
    """Read and verify every record.

    Raises:
        ReleaseError: a record was edited, dropped, doubled or reordered, or is of another format; each is
            named.
    """
    folder = f"{release_folder(model)}/history"
    found: list[Record] = []
    faults: list[str] = []
    for name in disk.list(folder):
        if name.startswith("."):
            continue  # left by a write that a crash cut short
        record = read_record(name, disk.read(f"{folder}/{name}") or b"")
        if isinstance(record, str):
            faults.append(record)
        else:
            found.append(record)
    found.sort(key=lambda record: (record.number, record.sha256))
    records = {record.sha256: record for record in found}
    for record in found:
        faults += _chain_faults(record, records, model)
    if faults:
        raise ReleaseError(
            f"{folder}: {'; '.join(faults)}. Nothing is released on a damaged history. `git status` and "
            f"`git log -p -- {folder}` show what changed; `git checkout COMMIT -- {folder}` restores it."
        )
    return History(model, records)


def _chain_faults(record: Record, records: Mapping[str, Record], model: str) -> Iterator[str]:
    missing = [parent for parent in record.parents if parent not in records]
    if missing:
        yield f"the record before {record.file_name} is missing: its digest begins with {missing[0][:12]}"
        return
    expected = max((records[parent].number for parent in record.parents), default=0) + 1
    if record.number != expected:
        yield f"{record.file_name} has the number {record.number}, but its parents demand {expected}"
    if record.model != model:
        yield f"{record.file_name} is a record of policy '{record.model}'"
