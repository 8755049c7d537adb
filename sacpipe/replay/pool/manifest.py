"""manifest.json: the segments of a pool in order, with their digests; no time stamp and no path."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, PoolCorruptError, PoolFormatError
from sacpipe.core.files import read_json, sha256_bytes, storage_errors, write_bytes, write_json
from sacpipe.replay.pool.config import PoolFormat
from sacpipe.replay.pool.segments import FORMAT_VERSION, RESTORE, encode_segment, segment_name
from sacpipe.replay.pool.transitions import FieldSpec, Transitions, field_specs
from sacpipe.specs.env_spec import EnvSpec

MANIFEST_NAME = "manifest.json"
SEALED_MODE = 0o444
"""File mode of a sealed segment."""

_SHA256 = r"^[0-9a-f]{64}$"


class SegmentEntry(Config):
    """One sealed segment."""

    file: str = Field(pattern=r"^segment-\d{10,}\.safetensors$")
    """File name in the pool's folder."""
    first_step: int = Field(ge=0)
    """Number of transitions of the pool before this segment, evicted ones included."""
    transitions: int = Field(ge=1)
    """Number of transitions in this segment."""
    size_bytes: int = Field(ge=1)
    sha256: str = Field(pattern=_SHA256)


def seal_segment(
    folder: Path, transitions: Transitions, *, first_step: int, form: PoolFormat
) -> SegmentEntry:
    """Write one segment atomically, read-only, and return its entry for the manifest.

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


class PoolPosition(Config):
    """A durable position in a pool that is being written; `PoolWriter.resume` continues exactly there."""

    segments: tuple[SegmentEntry, ...]
    """Segments sealed so far."""
    open_transitions: int = Field(ge=0)
    """Number of transitions after the last sealed segment."""
    open_crc32: int = Field(ge=0, lt=2**32)
    """CRC-32 of the records of these open transitions."""

    @property
    def sealed_transitions(self) -> int:
        """Number of transitions in sealed segments; equals the first step of the open segment."""
        return sum(segment.transitions for segment in self.segments)

    @property
    def transitions(self) -> int:
        """Number of transitions up to this position."""
        return self.sealed_transitions + self.open_transitions


class PoolManifest(Config):
    """The whole of manifest.json."""

    format_version: Literal[2]
    format: PoolFormat
    spec: EnvSpec
    """Task of the transitions."""
    transition_fields: tuple[FieldSpec, ...]
    """Name, type and shape of every field of one transition."""
    observation_columns: dict[str, tuple[int, int]]
    """First column and end of each float32 term in `observations` and `next_observations`."""
    segments: tuple[SegmentEntry, ...]
    """Segments, oldest first."""
    transitions: int = Field(ge=0)
    """Number of transitions in all segments."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.transition_fields != field_specs(self.spec):
            raise ValueError("transition_fields must be those of the spec")
        if self.observation_columns != _columns(self.spec):
            raise ValueError("observation_columns must be those of the spec")
        for entry in self.segments:
            if entry.file != segment_name(entry.first_step):
                raise ValueError(f"{entry.file} must be named by its first_step {entry.first_step}")
        for before, after in zip(self.segments[:-1], self.segments[1:], strict=True):
            if after.first_step != before.first_step + before.transitions:
                raise ValueError(f"{after.file} must begin where {before.file} ends")
        if self.transitions != sum(entry.transitions for entry in self.segments):
            raise ValueError("transitions must be the sum over the segments")
        return self

    @classmethod
    def describe(cls, spec: EnvSpec, form: PoolFormat, segments: tuple[SegmentEntry, ...]) -> Self:
        """Return the manifest of some segments."""
        fields = [field.as_tree() for field in field_specs(spec)]
        entries = [entry.as_tree() for entry in segments]
        tree: dict[str, Any] = {"format_version": FORMAT_VERSION, "format": form, "spec": spec.as_tree()}
        tree |= {"transition_fields": fields, "observation_columns": _columns(spec)}
        total = sum(entry.transitions for entry in segments)
        return cls.parse(tree | {"segments": entries, "transitions": total})

    def write(self, folder: Path) -> None:
        """Write manifest.json into the pool's folder, atomically.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        write_json(folder / MANIFEST_NAME, self.as_tree())


def read_manifest(folder: Path) -> PoolManifest:
    """Read a pool's manifest; the segments are not read.

    Raises:
        PoolFormatError: this program does not read the version, a field or a key is unknown, or two values
            contradict each other.
        PoolCorruptError: the file is missing or is not JSON.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise PoolCorruptError(f"{path}: expected the manifest of a replay pool, found no file. {RESTORE}.")
    tree = read_json(path, PoolCorruptError)
    version = tree.get("format_version") if isinstance(tree, dict) else None
    if version != FORMAT_VERSION:
        raise PoolFormatError(
            f"{path}: expected format_version {FORMAT_VERSION}, found {version!r}. "
            "Read it with the sacpipe that wrote it, or a later one."
        )
    try:
        return PoolManifest.parse(tree, source=str(path))
    except ConfigError as exc:
        raise PoolFormatError(f"{exc}. Another program changed this manifest. {RESTORE}.") from exc


def _columns(spec: EnvSpec) -> dict[str, tuple[int, int]]:
    places = {term.name: spec.layout.columns(term.name) for term in spec.layout.vector_terms}
    return {name: (place.start, place.stop) for name, place in places.items()}
