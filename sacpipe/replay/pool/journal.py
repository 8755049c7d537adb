"""A journal: a file of raw records that is only appended to. Open segments and recordings each have one."""

import os
import zlib
from pathlib import Path

from sacpipe.core.files import storage_errors, sync_folder


class Journal:
    """A file to append to, with a checksum of its durable bytes: a CRC, because a digest halves the speed."""

    def __init__(self, path: Path, data: bytes = b"") -> None:
        """Continue a file that begins with `data`; nothing is read or written."""
        self._path = path
        self.crc32 = zlib.crc32(data)
        self.size_bytes = len(data)

    def append(self, data: memoryview) -> None:
        """Write after the durable bytes, and sync.

        The write starts at a fixed offset, not at the end of the file: a failed call may have left bytes.

        Raises:
            StorageError: the disk is full or the folder cannot be written; the same call may be made again.
        """
        is_new = self.size_bytes == 0  # a failed call may have left the file, but its name is not durable
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
        """Delete the file if it exists."""
        with storage_errors(self._path):
            self._path.unlink(missing_ok=True)


def journal_path(folder: Path, first_step: int) -> Path:
    """Return the path of the journal whose open segment begins at a step of the pool."""
    return folder / f"journal-{first_step:010d}.bin"
