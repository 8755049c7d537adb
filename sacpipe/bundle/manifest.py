"""manifest.json: size and SHA-256 of every other file of a bundle."""

from typing import Literal

from pydantic import Field

from sacpipe.bundle.contract import Sha256
from sacpipe.bundle.files import MAX_BYTES
from sacpipe.core.config import Config
from sacpipe.core.files import sha256_bytes

PayloadName = Literal["contract.json", "golden.npz", "policy.onnx"]


class FileEntry(Config):
    """Size and digest of one file."""

    sha256: Sha256
    size_bytes: int = Field(ge=0, le=max(MAX_BYTES.values()))


class BundleManifest(Config):
    """The whole of manifest.json: size and digest of every other file, the signature apart."""

    format_version: Literal[3]
    files: dict[PayloadName, FileEntry] = Field(min_length=3)
    """Entry of each of the three files, by name."""


def file_entry(data: bytes) -> FileEntry:
    """Return the manifest's entry for a file with these bytes."""
    return FileEntry(sha256=sha256_bytes(data), size_bytes=len(data))
