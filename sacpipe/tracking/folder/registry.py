"""The registry in a tracking folder: a file for each policy."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sacpipe.core.files import sha256_file, write_bytes, write_json
from sacpipe.rollout.sources import read_source
from sacpipe.tracking.folder.files import FORMAT_VERSION, PolicyFile, TrackingFolder, find
from sacpipe.tracking.registry import BUNDLE_TAG, Registry, VersionRecord, checked_digest


class FolderRegistry(Registry):
    """The registered policies of one tracking folder."""

    def __init__(self, folder: TrackingFolder) -> None:
        self._folder = folder

    def register(
        self, name: str, model_id: str, run_id: str, bundle_digest: str, tags: Mapping[str, str]
    ) -> VersionRecord:
        """Return the version of a bundle, which is created where there is none."""
        with self._folder.locked():
            present = self.versions(name)
            for version in present:
                if version.bundle_digest == bundle_digest:
                    return version
            made = VersionRecord(
                name, len(present) + 1, run_id, model_id, {BUNDLE_TAG: bundle_digest, **tags}, ()
            )
            self._write(name, [*present, made])
        return made

    def versions(self, name: str) -> list[VersionRecord]:
        """Return every version of a policy, oldest first; none where the name is unknown."""
        found = find(PolicyFile, self._file(name))
        return [] if found is None else found.versions

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
        with self._folder.locked():
            self.version(name, version)
            self._write(
                name,
                [
                    replace(one, tags={**one.tags, **tags}) if one.version == version else one
                    for one in self.versions(name)
                ],
            )

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
        moved = []
        for one in self.versions(name):
            kept = {*one.aliases} - {alias} | ({alias} if one.version == version else set())
            moved.append(replace(one, aliases=tuple(sorted(kept))))
        self._write(name, moved)

    def _write(self, name: str, versions: list[VersionRecord]) -> None:
        write_json(self._file(name), PolicyFile(format_version=FORMAT_VERSION, versions=versions).as_tree())
