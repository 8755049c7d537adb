"""A disk that loses, tears and reorders what was not synced when a machine dies."""

import random
from dataclasses import dataclass, field

from sacpipe.core.errors import StorageError
from simulated.processes import Process


@dataclass(eq=False)
class File:
    """The bytes of a file, whatever its name is."""

    data: bytes
    durable: bytes = b""
    unsynced: list[bytes] = field(default_factory=list)
    """What was written since the last sync, oldest first."""

    def after_crash(self, choice: random.Random, whole: float) -> bytes:
        """Return what a crash leaves: the synced bytes, or any written ones, whole or torn."""
        if not self.unsynced or choice.random() < whole:
            return self.data
        written = choice.choice([self.durable, *self.unsynced])
        return written[: choice.randrange(len(written) + 1)] if choice.random() < 0.5 else written


Names = dict[str, dict[str, File]]
"""Files by folder and name."""


@dataclass(frozen=True)
class _Change:
    """A change of a folder that no sync_folder has followed."""

    folder: str
    removed: str = ""
    added: str = ""
    file: File | None = None

    def apply(self, names: Names) -> None:
        """Make the change."""
        inside = names.setdefault(self.folder, {})
        if self.removed and (self.file is None or inside.get(self.removed) is self.file):
            inside.pop(self.removed, None)
        if self.added and self.file is not None:
            inside[self.added] = self.file


class SimulatedDisk:
    """The files of one clone."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._names: Names = {}
        self._durable: Names = {}
        self._changes: list[_Change] = []
        self.edition = 0
        """Number of changes of any kind: what was read before is right while it stays."""

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a file, or None."""
        self._process.require_alive()
        return self.peek(path)

    def write(self, path: str, data: bytes) -> None:
        """Write the bytes of a file, unsynced; a disk that is full takes a part of them."""
        fault = self._begin(f"write {path} {len(data)}")
        part = data[: self._process.simulation.random.randrange(len(data) + 1)] if fault else data
        self.put(path, part)
        self._fail(fault)

    def sync(self, path: str) -> None:
        """Make the bytes durable."""
        fault = self._begin(f"sync {path}")
        folder, _, name = path.rpartition("/")
        file = self._names.get(folder, {}).get(name)
        self._fail(fault or ("" if file else f"{path}: expected a file, found none."))
        if file is not None:
            file.durable = file.data
            file.unsynced.clear()

    def rename(self, source: str, target: str) -> None:
        """Rename a file within its folder."""
        fault = self._begin(f"rename {source} {target}")
        folder, _, old = source.rpartition("/")
        other, _, new = target.rpartition("/")
        if folder != other:
            raise ValueError(f"rename to another folder: {source} {target}")
        file = self._names.get(folder, {}).get(old)
        self._fail(fault or ("" if file else f"{source}: expected a file, found none."))
        self._change(_Change(folder, removed=old, added=new, file=file))
        self._process.written.append(target)

    def remove(self, path: str) -> None:
        """Remove a file, if there is one."""
        self._fail(self._begin(f"remove {path}"))
        folder, _, name = path.rpartition("/")
        if name in self._names.get(folder, {}):
            self._change(_Change(folder, removed=name))

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable."""
        self._fail(self._begin(f"sync_folder {folder}"))
        rest = []
        for change in self._changes:
            if change.folder == folder:
                change.apply(self._durable)
            else:
                rest.append(change)
        self._changes = rest

    def list(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        self._process.require_alive()
        return sorted(self._names.get(folder, ()))

    def crash(self) -> None:
        """Leave what is durable, and any part of what is not."""
        choice = self._process.simulation.random
        self.edition += 1
        kept, whole = choice.choice((0.0, 0.5, 0.9, 1.0)), choice.choice((0.0, 0.5, 0.9))
        for change in self._changes:
            if choice.random() < kept:
                change.apply(self._durable)
        self._changes = []
        self._names = {}
        for folder, inside in sorted(self._durable.items()):
            fresh = {}
            for name, file in sorted(inside.items()):
                left = file.after_crash(choice, whole)
                fresh[name] = File(left, left)
            self._names[folder] = fresh
        self._durable = {folder: dict(inside) for folder, inside in self._names.items()}

    def peek(self, path: str) -> bytes | None:
        """Read a file outside of any process."""
        folder, _, name = path.rpartition("/")
        file = self._names.get(folder, {}).get(name)
        return None if file is None else file.data

    def put(self, path: str, data: bytes | None) -> None:
        """Write a file outside of any process, unsynced, or remove it."""
        folder, _, name = path.rpartition("/")
        file = self._names.setdefault(folder, {}).get(name)
        if data is None:
            if file is not None:
                self._change(_Change(folder, removed=name))
            return
        if file is None:
            file = File(data)
            self._change(_Change(folder, added=name, file=file))
        self.edition += 1
        file.data = data
        file.unsynced.append(data)

    def write_back(self) -> None:
        """Make everything durable, as a machine does that runs on for a while."""
        for inside in self._names.values():
            for file in inside.values():
                file.durable = file.data
                file.unsynced.clear()
        self._durable = {folder: dict(inside) for folder, inside in self._names.items()}
        self._changes = []

    def files(self, folder: str) -> dict[str, bytes]:
        """Return the bytes of all files below a folder by their path."""
        return {
            f"{below}/{name}": file.data
            for below, inside in self._names.items()
            if below == folder or below.startswith(f"{folder}/")
            for name, file in inside.items()
        }

    def _change(self, change: _Change) -> None:
        self.edition += 1
        change.apply(self._names)
        self._changes.append(change)

    def _begin(self, text: str) -> str:
        self._process.operation(text)
        is_failing = self._process.count in self._process.faults.disk
        return f"{text.split()[1]}: No space left on device." if is_failing else ""

    def _fail(self, fault: str) -> None:
        if fault:
            self._process.simulation.trace.add(f"{self._process.name} ! {fault}")
            raise StorageError(fault)
