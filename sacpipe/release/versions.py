"""A file for each registered version under git, so that a rebuilt or moved registry gets its versions again.

    release/NAME/versions/000003-1f3a5b7c9d0e.json    number, and first 12 digits of the bundle's digest

Two clones with registries of their own may give one number to two bundles: the names differ, and both stay.
docs/release.md lists the fields.
"""

from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from sacpipe.core.config import Config
from sacpipe.core.errors import StoreError
from sacpipe.core.files import canonical_json
from sacpipe.project.dvc.lock_file import LockEntries
from sacpipe.release.history import release_folder, write_durably
from sacpipe.release.world import Disk, World
from sacpipe.tracking.registry import BARRED_TAG, VersionRecord

FORMAT_VERSION: Literal[1] = 1
_SHA256 = r"^[0-9a-f]{64}$"
_OF_THE_HISTORY = {BARRED_TAG}
"""Tags that the release history restores."""


class RegisteredVersion(Config):
    """One registered version."""

    format_version: Literal[1]
    model: str
    """Registered name."""
    number: int = Field(ge=1)
    """Number that the registry gave."""
    bundle: str = Field(pattern=_SHA256)
    """SHA-256 of the bundle's manifest: the version's identity."""
    policy_sha256: str = Field(pattern=_SHA256)
    """SHA-256 of policy.onnx."""
    entries: dict[str, dict[str, JsonValue]]
    """Entries of dvc.lock by stage; DVC has the bytes of their outputs."""
    tags: dict[str, str]
    """Tags of the version, without that of a bar, which the history restores."""
    time: str
    """Time of the registration in UTC, ISO 8601."""

    @property
    def path(self) -> str:
        """Path of the file, relative to the project's folder."""
        return f"{versions_folder(self.model)}/{self.number:06d}-{self.bundle[:12]}.json"


def versions_folder(model: str) -> str:
    """Return the folder of a policy's versions."""
    return f"{release_folder(model)}/versions"


def write_version(world: World, version: VersionRecord, entries: LockEntries) -> RegisteredVersion:
    """Write a version's file, and return what it holds. One that says the same already is left as it is.

    Args:
        world: Clock and disk.
        version: The version as the registry has it.
        entries: Entries of dvc.lock by stage; those of a later run of the same bundle replace earlier ones.

    Raises:
        StorageError: the folder cannot be written.
        StoreError: the file that is there is no version, or the version has no bundle's digest.
    """
    try:
        wanted = RegisteredVersion(
            format_version=FORMAT_VERSION,
            model=version.name,
            number=version.version,
            bundle=version.bundle_digest,
            policy_sha256=version.policy_sha256,
            entries={stage: dict(entry) for stage, entry in entries.items()},
            tags={key: value for key, value in version.tags.items() if key not in _OF_THE_HISTORY},
            time=world.clock.now().isoformat(timespec="seconds"),
        )
    except ValidationError as exc:
        raise StoreError(
            f"version {version.version} of policy '{version.name}': expected the digests that `sacpipe run` "
            f"registers, found {version.tags}. Register the bundle again."
        ) from exc
    known = _read(world.disk, wanted.path)
    if known is not None:
        wanted = wanted.replace(time=known.time)
    if wanted != known:
        write_durably(world.disk, wanted.path, canonical_json(wanted.as_tree()).encode() + b"\n")
    return wanted


def read_versions(disk: Disk, model: str) -> list[RegisteredVersion]:
    """Return every version of a policy by number, and by digest where two have one number.

    Raises:
        StoreError: a file is no version of a known format, or its name is that of another one.
    """
    folder = versions_folder(model)
    found = []
    for name in disk.list(folder):
        if name.startswith("."):
            continue  # left by a write that a crash cut short
        version = _read(disk, f"{folder}/{name}")
        if version is not None:
            found.append(version)
    return sorted(found, key=lambda version: (version.number, version.bundle))


def _read(disk: Disk, path: str) -> RegisteredVersion | None:
    """Return the version of a file; None where there is none."""
    data = disk.read(path)
    if data is None:
        return None
    try:
        version = RegisteredVersion.model_validate_json(data)
    except ValidationError as exc:
        fault = exc.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise _damaged(path, f"no version of format {FORMAT_VERSION}: {where}: {fault['msg']}") from exc
    if version.path != path:
        raise _damaged(path, f"a version whose file is {version.path}")
    return version


def _damaged(path: str, found: str) -> StoreError:
    return StoreError(f"{path}: found {found}. `git checkout -- {path}` restores it, or upgrade sacpipe.")
