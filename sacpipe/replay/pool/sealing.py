"""Seals a segment: writes its file atomically and makes it read-only."""

from pathlib import Path

from sacpipe.core.files import sha256_bytes, storage_errors, write_bytes
from sacpipe.replay.pool.config import PoolFormat
from sacpipe.replay.pool.manifest import SegmentEntry
from sacpipe.replay.pool.segments import encode_segment, segment_name
from sacpipe.replay.pool.transitions import Transitions

SEALED_MODE = 0o444


def seal_segment(
    folder: Path, transitions: Transitions, *, first_step: int, form: PoolFormat
) -> SegmentEntry:
    """Write one segment and return its entry for the manifest.

    Args:
        folder: Folder of the pool, which exists.
        transitions: Rows of the segment, at least one.
        first_step: Number of transitions of the pool before these.
        form: Form of the segment, full or compact.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the same call may be made again.
    """
    data = encode_segment(transitions, first_step=first_step, form=form)
    path = folder / segment_name(first_step)
    write_bytes(path, data, makes_folder=False)
    with storage_errors(path):
        path.chmod(SEALED_MODE)
    return SegmentEntry(
        file=path.name,
        first_step=first_step,
        transitions=len(transitions),
        size_bytes=len(data),
        sha256=sha256_bytes(data),
    )
