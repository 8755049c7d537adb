"""The disk as a process changes it, operation by operation, so that the process can die or be refused at any.

`Disk.watch` puts itself between Python and the system calls that change a disk; it is called in a forked
child, which ends with them. A write is seen where it leaves Python's buffer. `Memory` also knows what a
power cut must leave: of a file the bytes of its last fsync, of a folder the names.
"""

import builtins
import errno
import io
import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER_CALLS = ("rename", "replace", "unlink", "remove", "mkdir", "rmdir", "chmod")
NEED_SPACE = {"open", "write", "fsync", "rename", "replace", "mkdir"}


@dataclass(frozen=True)
class Fault:
    """What happens at one operation, or from it on."""

    at: int
    """Number of the operation, from zero."""
    moment: str
    """`before` it, `after` it, or after a `part` of it where it writes bytes."""
    act: Callable[[str], None]
    """Receives the operation's name; ends the process, raises, or changes something."""
    lasts: bool = False
    """Whether later operations meet it too."""


class Disk:
    """Counts operations and lets one fault happen."""

    def __init__(self, fault: Fault | None = None, memory: "Memory | None" = None) -> None:
        self.count = 0
        self._fault, self._memory = fault, memory
        self._open = io.open

    def watch(self) -> None:
        """Intercept file operations of this process, until it ends."""
        for name in FOLDER_CALLS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        os.fsync = self._watched("fsync", os.fsync)
        os.sendfile = self._watched_sendfile(os.sendfile)
        io.open = builtins.open = self._watched_open

    def perform(self, name, call, part=None):
        """Do one operation, with the fault before, in or after it."""
        number, fault = self.count, self._fault
        self.count += 1
        if fault is None or (number < fault.at if fault.lasts else number != fault.at):
            return call()
        if number == fault.at and fault.moment == "part" and part is not None:
            part()
        result = call() if fault.moment == "after" else None
        if number == fault.at:
            self.keep()
        fault.act(name)
        return result if fault.moment == "after" else call()

    def keep(self) -> None:
        """Hand what is certain to the next process."""
        if self._memory is not None:
            self._memory.keep()

    def _watched(self, name, real):
        def call(path, *arguments, **named):
            result = real(path, *arguments, **named)
            if self._memory is not None and name == "fsync":
                self._memory.synced(path)
            if self._memory is not None and name == "mkdir":
                self._memory.made(Path(path).stat().st_ino, is_folder=True)
            return result

        return lambda *arguments, **named: self.perform(name, lambda: call(*arguments, **named))

    def _watched_sendfile(self, real):
        def sendfile(target, source, offset, size):
            whole = min(size, os.fstat(source).st_size - offset)
            if whole <= 0:
                return 0
            part = lambda: real(target, source, offset, whole // 2)  # noqa: E731
            return self.perform("write", lambda: real(target, source, offset, whole), part)

        return sendfile

    def _watched_open(self, file, mode="r", buffering=-1, *arguments, **named):
        if isinstance(file, int) or mode in ("r", "rb", "rt"):
            return self._open(file, mode, buffering, *arguments, **named)
        if "b" not in mode:
            raise ValueError(f"{file}: expected a mode that writes bytes, found {mode}")
        raw = self.perform("open", lambda: self._opened(file, mode))
        if buffering == 0:
            return raw
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    def _opened(self, file, mode):
        is_new = not Path(file).exists()
        raw = _WatchedFile(self, file, mode.replace("+", "") + "+")  # readable, for `Memory.synced`
        if is_new and self._memory is not None:
            self._memory.made(os.fstat(raw.fileno()).st_ino)
        return raw


class _WatchedFile(io.FileIO):
    def __init__(self, disk, file, mode):
        super().__init__(file, mode)
        self._disk = disk

    def write(self, data):
        write = super().write
        return self._disk.perform("write", lambda: write(data), lambda: write(data[: len(data) // 2]))

    def truncate(self, size=None):
        truncate = super().truncate
        return self._disk.perform("truncate", lambda: truncate(size))


def refuse(name: str) -> None:
    """Be a full disk."""
    if name in NEED_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Memory:
    """What is certain to be on the disk below a folder: bytes and names as of their last fsync.

    Files and folders go by a number of their own, because a system gives the inode of a removed one away
    again. Kept in a file outside the folder from one process to the next; where there is none, as after
    a power cut, all that is there is certain.
    """

    def __init__(self, root: Path, kept: Path) -> None:
        self._root, self._kept = root, kept
        self._numbers: dict[int, int] = {}
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._next = 0
        if kept.exists():
            self._load()
        else:
            self._settle(root)

    def made(self, inode: int, *, is_folder: bool = False) -> None:
        """Give a new file or folder a number."""
        self._numbers[inode] = self._next
        if is_folder:
            self._names[self._next] = {}
        self._next += 1

    def synced(self, descriptor: int) -> None:
        """Remember what fsync of a descriptor made certain."""
        status = os.fstat(descriptor)
        number = self._number(status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            self._names[number] = self._listing(descriptor)
        else:
            self._bytes[number] = os.pread(descriptor, status.st_size, 0)

    def keep(self) -> None:
        """Hand everything to the next process."""
        tree = {
            "numbers": list(self._numbers.items()),
            "bytes": [(number, data.decode("latin-1")) for number, data in self._bytes.items()],
            "names": list(self._names.items()),
            "next": self._next,
        }
        descriptor = os.open(self._kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        data = json.dumps(tree).encode()
        while data:
            data = data[os.write(descriptor, data) :]
        os.close(descriptor)

    def cut(self, generator: np.random.Generator) -> None:
        """Put the folder back to what a power cut may leave; the generator decides what is left open."""
        alive = {self._number(path.stat().st_ino): path for path in (self._root, *self._root.rglob("*"))}
        image = self._root.with_name(self._root.name + ".image")
        self._leave(self._number(self._root.stat().st_ino), image, alive, generator)
        shutil.rmtree(self._root)
        image.rename(self._root)
        self._kept.unlink(missing_ok=True)

    def _leave(self, number, target, alive, generator):
        path, then = alive.get(number), self._names.get(number)
        if then is None:
            target.write_bytes(self._left_of(number, path, generator))
            return
        target.mkdir()
        now = self._listing(path) if path is not None else {}
        for name in sorted(then | now):
            chosen = (then, now)[generator.integers(2)].get(name)
            if chosen is not None:
                self._leave(chosen, target / name, alive, generator)

    def _left_of(self, number, path, generator):
        certain = self._bytes.get(number, b"")
        written = path.read_bytes() if path is not None else certain
        choice = generator.integers(3)
        if choice == 0 or (choice == 2 and not written.startswith(certain)):
            return certain
        return written if choice == 1 else written[: generator.integers(len(certain), len(written) + 1)]

    def _listing(self, place):
        with os.scandir(place) as entries:
            return {entry.name: self._number(entry.stat(follow_symlinks=False).st_ino) for entry in entries}

    def _number(self, inode):
        if inode not in self._numbers:
            self.made(inode)
        return self._numbers[inode]

    def _settle(self, folder):
        for path in (folder, *folder.rglob("*")):
            number = self._number(path.stat().st_ino)
            if path.is_dir():
                self._names[number] = self._listing(path)
            else:
                self._bytes[number] = path.read_bytes()

    def _load(self):
        tree = json.loads(self._kept.read_text())
        self._numbers, self._names = dict(map(tuple, tree["numbers"])), dict(map(tuple, tree["names"]))
        self._bytes = {number: text.encode("latin-1") for number, text in tree["bytes"]}
        self._next = tree["next"]
