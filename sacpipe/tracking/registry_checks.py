"""What every member of the registries checks before it changes a version, with the same messages."""

from collections.abc import Mapping, Sequence

from sacpipe.core.errors import StoreError
from sacpipe.tracking.registry import MAX_TAG_CHARS, VersionRecord


def check_texts(what: str, texts: Mapping[str, str], max_chars: int = MAX_TAG_CHARS) -> None:
    """Check the lengths of tags, or of a description.

    Raises:
        StoreError: one is longer than `max_chars`.
    """
    for name, text in texts.items():
        if len(text) > max_chars:
            raise StoreError(
                f"{what}: {name}: expected at most {max_chars} characters, found {len(text)}. Shorten it."
            )


def check_number(
    versions: Sequence[VersionRecord], name: str, bundle_digest: str, number: int | None
) -> VersionRecord | None:
    """Return the version of a bundle that is to have a number; None where it is to be created.

    Raises:
        StoreError: the bundle has another number, or another bundle has this one.
    """
    found = next((one for one in versions if one.bundle_digest == bundle_digest), None)
    if number is None or (found is not None and found.version == number):
        return found
    if found is not None:
        raise StoreError(
            f"policy '{name}': expected bundle {bundle_digest} as version {number}, found it as version "
            f"{found.version}. A bundle has one version; delete that one, or use its number."
        )
    holder = next((one for one in versions if one.version == number), None)
    if holder is not None:
        raise StoreError(
            f"policy '{name}': expected no version {number} before bundle {bundle_digest}, found bundle "
            f"{holder.bundle_digest} as that version. Register the bundle without a number."
        )
    return None


def check_bundle(record: VersionRecord, digest: str) -> None:
    """Check that a bundle is that of a version, before its files are written again.

    Raises:
        StoreError: it is another one.
    """
    if digest != record.bundle_digest:
        raise StoreError(
            f"policy '{record.name}' version {record.version}: expected bundle {record.bundle_digest} to "
            f"restore its files from, found {digest}. Give the folder of its own bundle."
        )


def check_unnamed(record: VersionRecord) -> None:
    """Check that no alias names a version, before it is deleted.

    Raises:
        StoreError: one does.
    """
    if record.aliases:
        raise StoreError(
            f"policy '{record.name}' version {record.version}: expected no alias, found "
            f"{', '.join(record.aliases)}. Move the alias to another version first."
        )
