"""A journal: raw records behind each other, only ever grown. An open segment has one, and a recording."""

import os
import zlib
from pathlib import Path

from sacpipe.core.files import storage_errors, sync_folder


class Journal:
    """Bytes already durable, and a running checksum of them: a CRC, because a digest halves the speed."""

    def __init__(self, path: Path, data: bytes = b"") -> None:
        """Stand behind `data`, which is what the file begins with; nothing is read or written."""
        self._path = path
        self.crc32 = zlib.crc32(data)
        self.size_bytes = len(data)

    def append(self, data: memoryview) -> None:
        """Write behind what is durable, and sync.

        The place is by offset, not the end of the file: a call that failed may have left bytes there.

        Raises:
            StorageError: the disk is full or the folder cannot be written; the same call may be made again.
        """
        is_new = self.size_bytes == 0  # a call that failed may have left the file; its name is not durable
        with storage_errors(self._path):
            with self._path.open("wb" if is_new else "r+b", buffering=0) as file:
                file.seek(self.size_bytes)
                written = 0
                while written < len(data):
                    written += file.write(data[written:])
                os.fsync(file.fileno())
            if is_new:
                sync_folder(self._path.parent)
        self.crc32 = zlib.crc32(data, self.crc32)
        self.size_bytes += len(data)

    def remove(self) -> None:
        """Delete the file, where there is one."""
        with storage_errors(self._path):
            self._path.unlink(missing_ok=True)


def journal_path(folder: Path, first_step: int) -> Path:
    """Return the journal of the open segment that begins at a step of the pool."""
    return folder / f"journal-{first_step:010d}.bin"
