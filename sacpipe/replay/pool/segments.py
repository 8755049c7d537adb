"""Encodes and reads one segment: an immutable safetensors file. docs/replay-pool.md has the format.

The same transitions give the same bytes: the library orders tensors by type (widest first) and name, and
the header has one metadata key only, because the library writes several keys in no fixed order.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sacpipe.core.errors import PoolCorruptError, PoolFormatError
from sacpipe.core.files import canonical_json
from sacpipe.replay.pool.config import PoolFormat
from sacpipe.replay.pool.transitions import FIELD_NAMES, Transitions

FORMAT_VERSION = 1
RESTORE = "Restore the pool with `dvc checkout` or `dvc pull`, or record it again"
"""Last sentence of a message about a damaged pool."""

_METADATA_KEY = "sacpipe.replay"
_ROWS = "next_observation_rows"


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
    tensors: dict[str, NDArray[Any]] = {
        name: np.ascontiguousarray(getattr(transitions, name)) for name in FIELD_NAMES
    }
    if form == "compact":
        rows = _kept_rows(transitions)
        tensors |= {_ROWS: rows, "next_observations": transitions.next_observations[rows]}
    header = {"first_step": first_step, "format": form, "format_version": FORMAT_VERSION}
    return save(tensors, metadata={_METADATA_KEY: canonical_json(header)})


def read_segment(path: Path) -> Transitions:
    """Read a segment of either form; a compact one is expanded to the full one bit for bit.

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
    form = _form(path, metadata)
    expected = {*FIELD_NAMES, _ROWS} if form == "compact" else {*FIELD_NAMES}
    if set(tensors) != expected:
        raise PoolFormatError(
            f"{path}: expected the tensors {sorted(expected)}, found {sorted(tensors)}. "
            "Read it with the sacpipe that wrote it."
        )
    if form == "compact":
        tensors["next_observations"] = _expanded(path, tensors, tensors.pop(_ROWS))
    return Transitions(**tensors)


def _kept_rows(transitions: Transitions) -> NDArray[np.int64]:
    """Return the rows whose next observation must be stored: the following row does not repeat its bits.

    The rows that end an episode, and the last row, are always among them.
    """
    keep = (transitions.terminations > 0) | (transitions.truncations > 0)
    keep[-1] = True
    after = np.ascontiguousarray(transitions.next_observations[:-1]).view(np.uint32)
    following = np.ascontiguousarray(transitions.observations[1:]).view(np.uint32)
    keep[:-1] |= (after != following).any(axis=1)
    return np.flatnonzero(keep).astype(np.int64)


def _expanded(path: Path, tensors: dict[str, Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    observations, kept = tensors["observations"], tensors["next_observations"]
    last = len(observations) - 1
    if not _rises_to(last, rows) or kept.shape != (len(rows), *observations.shape[1:]):
        raise PoolCorruptError(
            f"{path}: expected {_ROWS} as increasing numbers up to the last row, {last}, and "
            f"one next observation each; "
            f"found rows of shape {rows.shape} and next observations of shape {kept.shape}. {RESTORE}."
        )
    expanded: NDArray[Any] = np.empty_like(observations)
    expanded[:-1] = observations[1:]
    expanded[rows] = kept
    return expanded


def _rises_to(last: int, rows: NDArray[np.int64]) -> bool:
    if rows.dtype != np.int64 or rows.ndim != 1 or rows.size == 0:
        return False
    return bool(rows[0] >= 0 and rows[-1] == last and (np.diff(rows) > 0).all())


def _form(path: Path, metadata: dict[str, str]) -> str:
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
    return str(form)
