"""Encodes and reads one segment: an immutable safetensors file. docs/replay-pool.md has the format.

The same transitions give the same bytes: the library orders tensors by type (widest first) and name, and
the header has one metadata key only, because the library writes several keys in no fixed order.
"""

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sacpipe.core.errors import PoolCorruptError, PoolFormatError
from sacpipe.core.files import canonical_json, storage_errors, sync_folder
from sacpipe.replay.pool.config import PoolFormat
from sacpipe.replay.pool.transitions import (
    NEXT_OBSERVATIONS,
    Transitions,
    field_specs,
    image_field,
    kept_image_rows,
    kept_rows,
)
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import ObservationLayout

FORMAT_VERSION = 2
RESTORE = "Restore the pool with `dvc checkout` or `dvc pull`, or record it again"
"""Last sentence of a message about a damaged pool."""

_METADATA_KEY = "sacpipe.replay"

Tensors = dict[str, NDArray[Any]]
"""Tensors of a segment, by name."""


def segment_name(first_step: int) -> str:
    """Return the file name of the segment that begins at a given step of the pool."""
    return f"segment-{first_step:010d}.safetensors"


def encode_segment(transitions: Transitions, *, first_step: int, form: PoolFormat) -> bytes:
    """Return the bytes of a segment with at least one row.

    Args:
        transitions: Rows of the segment.
        first_step: Number of transitions of the pool before these.
        form: Form of the segment, full or compact.
    """
    header = {"first_step": first_step, "format": form, "format_version": FORMAT_VERSION}
    return save(stored_tensors(transitions, form), metadata={_METADATA_KEY: canonical_json(header)})


def stored_tensors(transitions: Transitions, form: PoolFormat) -> Tensors:
    """Return the contiguous tensors that store at least one row in a form."""
    tensors = transitions.arrays()
    for index, (fields, rows_of) in _stored_once(transitions.observations.layout, form).items():
        tensors[index] = rows = rows_of(transitions)
        tensors |= {field: tensors[field][rows] for field in fields}
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def read_segment(path: Path, spec: EnvSpec) -> Transitions:
    """Read a segment of either form; next observations that are not stored are restored bit for bit.

    Raises:
        PoolFormatError: the segment has a version or fields this program does not read.
        PoolCorruptError: the file is missing or incomplete, or its tensors contradict each other.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as exc:
        raise PoolCorruptError(f"{path}: expected a sealed segment, found no file. {RESTORE}.") from exc
    except (SafetensorError, OSError) as exc:
        raise PoolCorruptError(f"{path}: expected a complete segment, found: {exc}. {RESTORE}.") from exc
    return restored_transitions(tensors, spec, _form(path, metadata), path)


def restored_transitions(tensors: Tensors, spec: EnvSpec, form: PoolFormat, path: Path) -> Transitions:
    """Return the rows that `stored_tensors` stored; `path` is for messages. Raises as `read_segment`."""
    tensors, stored_once = dict(tensors), _stored_once(spec.layout, form)
    expected = {*(field.name for field in field_specs(spec)), *stored_once}
    if set(tensors) != expected:
        raise PoolFormatError(
            f"{path}: expected the tensors {sorted(expected)}, found {sorted(tensors)}. "
            "Read it with the sacpipe that wrote it."
        )
    for index, (fields, _) in stored_once.items():
        rows = tensors.pop(index)
        for field in fields:
            before = tensors[field.removeprefix("next_")]
            tensors[field] = _expanded(path, before, tensors[field], rows, index)
    return Transitions.of_arrays(spec.layout, tensors)


_RowsOf = Callable[[Transitions], NDArray[np.int64]]


def _stored_once(layout: ObservationLayout, form: PoolFormat) -> dict[str, tuple[list[str], _RowsOf]]:
    """Return the fields of which only some rows are stored, by the tensor that lists these rows."""
    found: dict[str, tuple[list[str], _RowsOf]] = {}
    if form == "compact":
        found["next_observation_rows"] = [NEXT_OBSERVATIONS], kept_rows
    if layout.image_terms:
        images = [image_field(NEXT_OBSERVATIONS, term.name) for term in layout.image_terms]
        found["next_image_rows"] = images, kept_image_rows
    return found


def _expanded(
    path: Path, before: NDArray[Any], kept: NDArray[Any], rows: NDArray[np.int64], index: str
) -> NDArray[Any]:
    """Return all rows of a field of next observations."""
    last = len(before) - 1
    if not _rises_to(last, rows) or kept.shape != (len(rows), *before.shape[1:]):
        raise PoolCorruptError(
            f"{path}: expected {index} as increasing numbers up to the last row, {last}, and one next "
            f"observation each; found rows of shape {rows.shape} and next observations of shape "
            f"{kept.shape}. {RESTORE}."
        )
    expanded: NDArray[Any] = np.empty_like(before)
    expanded[:-1] = before[1:]
    expanded[rows] = kept
    return expanded


def _rises_to(last: int, rows: NDArray[np.int64]) -> bool:
    if rows.dtype != np.int64 or rows.ndim != 1 or rows.size == 0:
        return False
    return bool(rows[0] >= 0 and rows[-1] == last and (np.diff(rows) > 0).all())


def _form(path: Path, metadata: dict[str, str]) -> PoolFormat:
    try:
        header = json.loads(metadata[_METADATA_KEY])
        version, form = header["format_version"], header["format"]
    except (KeyError, TypeError, ValueError) as exc:
        raise PoolFormatError(
            f"{path}: expected a replay segment, found a safetensors file without '{_METADATA_KEY}'. "
            "Point at a pool that sacpipe wrote."
        ) from exc
    if version != FORMAT_VERSION or form not in ("full", "compact"):
        raise PoolFormatError(
            f"{path}: expected segment version {FORMAT_VERSION}, full or compact; found version {version!r}, "
            f"{form!r}. Read it with the sacpipe that wrote it, or a later one."
        )
    return "full" if form == "full" else "compact"


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
