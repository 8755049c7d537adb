"""Restores a writer's folder to a position that `flush` returned.

All data of the position is verified before anything is deleted. If the call is killed at any moment, the
next call has the same result.
"""

import zlib
from pathlib import Path

import numpy as np

from sacpipe.core.errors import PoolCorruptError, PoolError
from sacpipe.core.files import make_folder, sha256_file, storage_errors, sync_folder, write_bytes
from sacpipe.replay.pool.journal import journal_path
from sacpipe.replay.pool.manifest import MANIFEST_NAME, PoolPosition
from sacpipe.replay.pool.segments import read_segment, segment_name
from sacpipe.replay.pool.transitions import record_dtype
from sacpipe.specs.env_spec import EnvSpec

_OWN_FILES = (MANIFEST_NAME, "journal-*.bin", "segment-*.safetensors", ".*.tmp")
_REMEDY = "Resume from an older checkpoint, or remove the folder to start this run again"


def recover(folder: Path, position: PoolPosition, spec: EnvSpec) -> bytes:
    """Check all data of a position, delete later data, and return the records of the open segment.

    Raises:
        PoolCorruptError: bytes up to the position are missing or differ; nothing was deleted.
        StorageError: the folder cannot be written.
    """
    for entry in position.segments:
        path = folder / entry.file
        found = sha256_file(path) if path.is_file() else "no file"
        if found != entry.sha256:
            raise PoolCorruptError(f"{path}: expected SHA-256 {entry.sha256}, found {found}. {_REMEDY}.")
    data = _open_records(folder, position, spec)
    _discard_beyond(folder, position, data)
    return data


def _open_records(folder: Path, position: PoolPosition, spec: EnvSpec) -> bytes:
    """Return the records after the last sealed segment, from their journal or from a segment sealed later."""
    size_bytes = position.open_transitions * record_dtype(spec).itemsize
    journal = journal_path(folder, position.sealed_transitions)
    data = journal.read_bytes()[:size_bytes] if journal.is_file() else b""
    if zlib.crc32(data) == position.open_crc32:
        return data
    sealed = folder / segment_name(position.sealed_transitions)
    later = _records_of(sealed, spec)[:size_bytes] if sealed.is_file() else b""
    if zlib.crc32(later) == position.open_crc32:
        return later
    raise PoolCorruptError(
        f"{journal}: expected {size_bytes} bytes with CRC-32 {position.open_crc32}, found {len(data)} bytes "
        f"with {zlib.crc32(data)}, and no {sealed.name} that begins with the expected bytes. {_REMEDY}."
    )


def _records_of(path: Path, spec: EnvSpec) -> bytes:
    """Return a segment's records; no bytes if the segment cannot be read. Its digest is not known here."""
    try:
        transitions = read_segment(path, spec)
    except PoolError:
        return b""
    records = np.empty(len(transitions), dtype=record_dtype(spec))
    for name, array in transitions.arrays().items():
        records[name] = array
    return records.tobytes()


def _discard_beyond(folder: Path, position: PoolPosition, data: bytes) -> None:
    journal = journal_path(folder, position.sealed_transitions)
    keep = {entry.file for entry in position.segments}
    if data:
        keep.add(journal.name)
        if not journal.is_file() or journal.read_bytes() != data:
            write_bytes(journal, data)
    with storage_errors(folder):
        make_folder(folder)
        for pattern in _OWN_FILES:
            for path in folder.glob(pattern):
                if path.name not in keep:
                    path.unlink()
        sync_folder(folder)
