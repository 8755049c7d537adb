"""The registry in a tracking folder: a file for each version, and one for each alias."""

from collections.abc import Mapping
from pathlib import Path

from sacpipe.core.errors import StoreError
from sacpipe.core.files import sha256_file, write_bytes, write_json
from sacpipe.rollout.sources import read_source
from sacpipe.tracking.folder.files import FORMAT_VERSION, TrackingFolder, VersionFile, write_file
from sacpipe.tracking.registry import BUNDLE_TAG, Registry, VersionRecord


class FolderRegistry(Registry):
    """The registered policies of one tracking folder. A reader writes nothing, so it may be read-only."""

    def __init__(self, folder: TrackingFolder) -> None:
        self._folder = folder

    def register(
        self, name: str, model_id: str, run_id: str, bundle_digest: str, tags: Mapping[str, str]
    ) -> VersionRecord:
        """Return the version of a bundle, which is created where there is none."""
        with self._folder.locked():
            present = self._folder.read_versions(name)
            if not any(one.tags.get(BUNDLE_TAG) == bundle_digest for one in present):
                made = VersionFile(
                    format_version=FORMAT_VERSION,
                    version=max((one.version for one in present), default=0) + 1,
                    run_id=run_id,
                    model_id=model_id,
                    tags={BUNDLE_TAG: bundle_digest, **tags},
                )
                self._write(name, made)
        return next(one for one in self.versions(name) if one.bundle_digest == bundle_digest)

    def versions(self, name: str) -> list[VersionRecord]:
        """Return every version of a policy, oldest first; none where the name is unknown."""
        aliases = self._folder.aliases(name)
        return [
            VersionRecord(
                name=name,
                version=one.version,
                run_id=one.run_id,
                model_id=one.model_id,
                tags=one.tags,
                aliases=tuple(sorted(alias for alias, number in aliases.items() if number == one.version)),
            )
            for one in self._folder.read_versions(name)
        ]

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        with self._folder.locked():
            self._find(name, version)
            write_json(self._folder.alias(name, alias), version)

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias; one that is missing stays missing."""
        with self._folder.locked():
            self._folder.alias(name, alias).unlink(missing_ok=True)

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a version."""
        with self._folder.locked():
            found = self._find(name, version)
            self._write(name, found.replace(tags={**found.tags, **tags}))

    def download(self, record: VersionRecord, folder: Path) -> tuple[Path, str]:
        """Copy a version's bundle, whose files are read as those of a foreign one."""
        copy = folder / "bundle"
        source = self._folder.bundle(record.model_id)
        for name, data in read_source(source, allow_hard_links=False).items():
            write_bytes(copy / name, data)
        return copy, sha256_file(copy / "policy.onnx")

    def _find(self, name: str, version: int) -> VersionFile:
        for found in self._folder.read_versions(name):
            if found.version == version:
                return found
        raise StoreError(f"policy '{name}' has no version {version} in {self._folder.root}.")

    def _write(self, name: str, version: VersionFile) -> None:
        write_file(self._folder.versions(name) / f"{version.version}.json", version)
