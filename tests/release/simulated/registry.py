"""One client of the simulated registry. Each method is one operation; a partition comes before or after it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from sacpipe.bundle.files import read_files
from sacpipe.bundle.reader import parse_bundle
from sacpipe.core.errors import BusyError, StoreError, StoreUnavailableError
from sacpipe.core.files import sha256_file, write_bytes
from sacpipe.tracking.registry import BUNDLE_TAG, MAX_DESCRIPTION_CHARS, Registry, VersionRecord
from sacpipe.tracking.registry_checks import check_bundle, check_number, check_texts, check_unnamed
from simulated.processes import Process
from simulated.store import Store


class SimulatedRegistry(Registry):
    """The registry as one process reaches it."""

    def __init__(self, store: Store, process: Process) -> None:
        self._store, self._process = store, process

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
        """Return the version of a bundle, which is created where there is none."""
        check_texts(f"policy '{name}'", tags)
        with self._call(f"register {name} {bundle_digest[:12]} {number or ''}", changes=True):
            policy = self._store.policy(name)
            known = [policy.record(version) for version in sorted(policy.versions)]
            found = check_number(known, name, bundle_digest, number)
            if found is not None:
                return found
            given = max([0, *policy.versions, *policy.deleted]) + 1 if number is None else number
            before = policy.deleted.get(given, bundle_digest)
            if before != bundle_digest:
                raise StoreError(f"policy '{name}': the deleted version {given} was bundle {before}.")
            policy.deleted.pop(given, None)
            policy.versions[given] = VersionRecord(
                name, given, run_id, model_id, {BUNDLE_TAG: bundle_digest, **tags}, ()
            )
            return policy.record(given)

    def versions(self, name: str) -> list[VersionRecord]:
        """Return every version of a policy."""
        with self._call(f"versions {name}"):
            policy = self._store.policy(name)
            named = policy.versions.get(policy.aliases.get("champion", 0))
            self._process.aliases.append(named and named.bundle_digest)
            return [policy.record(version) for version in sorted(policy.versions)]

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        with self._call(f"set_alias {name} {alias} {version}", changes=True):
            self._find(name, version)
            self._store.policy(name).aliases[alias] = version

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias; one that is missing stays missing."""
        with self._call(f"delete_alias {name} {alias}", changes=True):
            self._store.policy(name).aliases.pop(alias, None)

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a version."""
        check_texts(f"policy '{name}' version {version}", tags)
        with self._call(f"set_version_tags {name} {version} {dict(tags)}", changes=True):
            stored = self._find(name, version)
            self._put(replace(stored, tags={**stored.tags, **tags}))

    def set_description(self, name: str, version: int, text: str) -> None:
        """Set the description of a version."""
        check_texts(f"policy '{name}' version {version}", {"description": text}, MAX_DESCRIPTION_CHARS)
        with self._call(f"set_description {name} {version}", changes=True):
            self._put(replace(self._find(name, version), description=text))

    def model_tags(self, name: str) -> dict[str, str]:
        """Return the tags of a registered name."""
        with self._call(f"model_tags {name}"):
            self._process.tags = dict(self._store.policy(name).tags)
            return dict(self._process.tags)

    def set_model_tags(self, name: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a registered name; each is an operation of its own, as over HTTP."""
        check_texts(f"policy '{name}'", tags)
        for tag, value in tags.items():
            with self._call(f"set_model_tags {name} {tag} {value}", changes=True):
                self._store.policy(name).tags[tag] = value

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version that no alias names."""
        with self._call(f"delete_version {name} {version}", changes=True):
            self._find(name, version)
            check_unnamed(self._store.policy(name).record(version))
            policy = self._store.policy(name)
            policy.deleted[version] = policy.versions.pop(version).bundle_digest

    def restore_files(self, record: VersionRecord, bundle_folder: Path) -> None:
        """Write the files of a version again."""
        with self._call(f"restore_files {record.name} {record.version}", changes=True):
            files = read_files(bundle_folder)
            check_bundle(record, parse_bundle(files).digest)
            self._store.files[record.model_id] = dict(files)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[bool]:
        """Hold the store's lock; it ends with the process that holds it."""
        with self._call(f"exclusive {name}", is_idempotent=False):
            holder = self._store.holder(name)
            if holder is not None:
                raise BusyError(f"policy '{name}': another release command holds the lock: {holder.name}.")
            if self._store.excludes:
                self._store.holders[name] = self._process
        try:
            yield self._store.excludes
        finally:
            if self._store.holders.get(name) is self._process:
                del self._store.holders[name]

    def download(self, record: VersionRecord, folder: Path) -> tuple[Path, str]:
        """Copy a version's files."""
        with self._call(f"download {record.name} {record.version}"):
            files = self._store.files.get(record.model_id)
            if files is None:
                raise StoreError(f"{record.name} version {record.version} has no files.")
            for name, data in files.items():
                write_bytes(folder / "bundle" / name, data)
        return folder / "bundle", sha256_file(folder / "bundle" / "policy.onnx")

    def prove(self, record: VersionRecord) -> None:
        """Prove a version as `World.prove` does: its bytes are those of its digest.

        Raises:
            StoreError: they are not, or the version is gone.
        """
        with self._call(f"prove {record.name} {record.version}"):
            stored = self._find(record.name, record.version)
            if not self._store.is_intact(stored):
                raise StoreError(
                    f"policy '{record.name}' version {record.version}: expected bundle "
                    f"{record.bundle_digest}, found other bytes. Its artifacts were changed."
                )
            self._process.proven.add(stored.bundle_digest)

    @contextlib.contextmanager
    def _call(self, text: str, *, changes: bool = False, is_idempotent: bool = True) -> Iterator[None]:
        """Make one call: it may fail before its effect, or its answer may be lost."""
        process, fault = self._process, False
        process.operation(text)
        if process.count in process.faults.partition:
            fault = True
            is_lost = is_idempotent and process.simulation.random.random() < process.faults.is_answer_lost
            process.simulation.trace.add(
                f"{process.name} ! no answer{' after the effect' if is_lost else ''}"
            )
            if not is_lost:
                raise StoreUnavailableError("the registry does not answer.")
        process.calls.append(text.partition(" ")[0])
        yield
        if changes:
            self._store.on_change(process, text)
        if fault:
            raise StoreUnavailableError("the registry does not answer.")

    def _find(self, name: str, version: int) -> VersionRecord:
        policy = self._store.policies.get(name)
        if policy is None or version not in policy.versions:
            raise StoreError(f"policy '{name}' has no version {version}.")
        return policy.versions[version]

    def _put(self, record: VersionRecord) -> None:
        self._store.policy(record.name).versions[record.version] = record
