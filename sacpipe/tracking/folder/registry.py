"""The registry in a tracking folder: a file for each policy."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sacpipe.bundle.files import read_files
from sacpipe.bundle.reader import parse_bundle
from sacpipe.core.errors import StoreError
from sacpipe.core.files import sha256_file, write_bytes, write_json
from sacpipe.rollout.sources import read_source
from sacpipe.tracking.folder.files import POLICY_FORMAT_VERSION, PolicyFile, TrackingFolder, find
from sacpipe.tracking.lock_file import exclude_by_file
from sacpipe.tracking.registry import (
    BUNDLE_TAG,
    MAX_DESCRIPTION_CHARS,
    Registry,
    VersionRecord,
    checked_digest,
)
from sacpipe.tracking.registry_checks import check_bundle, check_number, check_texts, check_unnamed


class FolderRegistry(Registry):
    """The registered policies of one tracking folder."""

    def __init__(self, folder: TrackingFolder) -> None:
        self._folder = folder

    def register(
        self,
        name: str,
        model_id: str,
        run_id: str,
        bundle_digest: str,
        tags: Mapping[str, str],
        *,
        number: int | None = None,
    ) -> VersionRecord:
        """Return the version of a bundle, which is created where there is none.

        A number below the highest one can be had where no other bundle has or had it.
        """
        check_texts(f"policy '{name}'", tags)
        with self._folder.locked():
            held = self._read(name)
            if (found := check_number(held.versions, name, bundle_digest, number)) is not None:
                return found
            new_number = held.next_number if number is None else number
            before = held.deleted.get(str(new_number), bundle_digest)
            if before != bundle_digest:
                raise StoreError(
                    f"policy '{name}': the deleted version {new_number} was bundle {before}, so bundle "
                    f"{bundle_digest} cannot have its number. Register it without a number."
                )
            made = VersionRecord(name, new_number, run_id, model_id, {BUNDLE_TAG: bundle_digest, **tags}, ())
            ordered = sorted([*held.versions, made], key=lambda one: one.version)
            deleted = {key: digest for key, digest in held.deleted.items() if key != str(new_number)}
            self._write(name, held, versions=ordered, deleted=deleted)
        return made

    def versions(self, name: str) -> list[VersionRecord]:
        """Return every version of a policy, oldest first; none where the name is unknown."""
        return self._read(name).versions

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        with self._folder.locked():
            self.version(name, version)
            self._point(name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias; one that is missing stays missing."""
        with self._folder.locked():
            self._point(name, alias, None)

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a version."""
        check_texts(f"policy '{name}' version {version}", tags)
        with self._folder.locked():
            self._change(name, version, tags={**self.version(name, version).tags, **tags})

    def set_description(self, name: str, version: int, text: str) -> None:
        """Set the description of a version."""
        check_texts(f"policy '{name}' version {version}", {"description": text}, MAX_DESCRIPTION_CHARS)
        with self._folder.locked():
            self._change(name, version, description=text)

    def model_tags(self, name: str) -> dict[str, str]:
        """Return the tags of a registered name."""
        return self._read(name).tags

    def set_model_tags(self, name: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a registered name, all in one step."""
        check_texts(f"policy '{name}'", tags)
        with self._folder.locked():
            held = self._read(name)
            self._write(name, held, tags={**held.tags, **tags})

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version; the file keeps its number with the digest of its bundle."""
        with self._folder.locked():
            held, gone = self._read(name), self.version(name, version)
            check_unnamed(gone)
            kept = [one for one in held.versions if one.version != version]
            self._write(name, held, versions=kept, deleted={**held.deleted, str(version): gone.bundle_digest})

    def restore_files(self, record: VersionRecord, bundle_folder: Path) -> None:
        """Write the files of a version's bundle again."""
        files = read_files(bundle_folder, follow_cache_links=True)
        check_bundle(record, parse_bundle(files).digest)
        self._folder.write_bundle(checked_digest(record.name, record.model_id), files)

    def exclusive(self, name: str) -> AbstractContextManager[bool]:
        """Hold policies/NAME.lock."""
        return exclude_by_file(self._file(name).with_suffix(".lock"), name)

    def download(self, record: VersionRecord, folder: Path) -> tuple[Path, str]:
        """Copy a version's bundle, whose files are read as those of a foreign one."""
        digest = checked_digest(f"{record.name} version {record.version}", record.model_id)
        source = self._folder.path("bundles", digest)
        for name, data in read_source(source, allow_hard_links=False).items():
            write_bytes(folder / "bundle" / name, data)
        return folder / "bundle", sha256_file(folder / "bundle" / "policy.onnx")

    def _file(self, name: str) -> Path:
        path = self._folder.path("policies", name)
        return path.with_name(f"{path.name}.json")

    def _point(self, name: str, alias: str, version: int | None) -> None:
        """Take an alias from every version but one, which gets it."""
        moved, held = [], self._read(name)
        for one in held.versions:
            kept = {*one.aliases} - {alias} | ({alias} if one.version == version else set())
            moved.append(replace(one, aliases=tuple(sorted(kept))))
        self._write(name, held, versions=moved)

    def _change(self, name: str, version: int, **values: Any) -> None:
        """Set fields of a version."""
        held = self._read(name)
        changed = replace(self.version(name, version), **values)
        versions = [changed if one.version == version else one for one in held.versions]
        self._write(name, held, versions=versions)

    def _read(self, name: str) -> PolicyFile:
        return find(PolicyFile, self._file(name)) or PolicyFile(format_version=POLICY_FORMAT_VERSION)

    def _write(self, name: str, held: PolicyFile, **values: Any) -> None:
        changed = held.model_copy(update={"format_version": POLICY_FORMAT_VERSION, **values})
        write_json(self._file(name), changed.as_tree())
