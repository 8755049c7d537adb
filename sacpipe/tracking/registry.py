"""The protocol of registries: versions of a policy, one for each bundle, and the aliases that name them.

A registry keeps no history of aliases, and the last writer of an alias wins. The history is in the project's
release/ folder, and a release command holds `Registry.exclusive` where the store can exclude another one.
`sacpipe.testing.trackers.check_registry` tests a member.
"""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.errors import GateError, StoreError
from sacpipe.core.files import storage_errors
from sacpipe.rollout.registries import Address
from sacpipe.rollout.sources import ResolvedBundle, Source, read_source

BUNDLE_TAG = "sacpipe.bundle_digest"
"""Tag of every version: the digest of its bundle."""
POLICY_TAG = "sacpipe.policy_sha256"
BARRED_TAG = "sacpipe.barred"
"""Tag of a version that no robot may serve: since when, by whom and why. Empty: it is not barred."""
MAX_TAG_CHARS = 5000
"""Longest value of a tag. A database of MLflow holds no longer one of a registered model."""
MAX_DESCRIPTION_CHARS = 5000
"""Longest description of a version."""
_MAX_SHOWN_CHARS = 300


@dataclass(frozen=True)
class VersionRecord:
    """One version of a registered policy."""

    name: str
    version: int
    run_id: str
    """Id of the run that exported the bundle."""
    model_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...]
    description: str = ""
    """Markdown."""

    @property
    def bundle_digest(self) -> str:
        """Registered digest of the bundle; empty where there is none."""
        return self.tags.get(BUNDLE_TAG, "")

    @property
    def policy_sha256(self) -> str:
        """Registered SHA-256 of policy.onnx; empty where there is none."""
        return self.tags.get(POLICY_TAG, "")

    @property
    def barred(self) -> str:
        """Since when, by whom and why no robot may serve the version; empty where it may."""
        return self.tags.get(BARRED_TAG, "")


class Registry(Protocol):
    """The registered policies of one tracker. A member derives from it: some methods are the same for all.

    Every method raises StoreError where the store fails, and StoreUnavailableError where it does not answer.
    """

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

        A new version has the number after the highest one that was ever given, from 1 on.

        Args:
            name: Registered name.
            model_id: Id that `Tracker.log_model` returned.
            run_id: Id of the run that exported the bundle.
            bundle_digest: Identity of the version, also its tag `sacpipe.bundle_digest`.
            tags: Tags of a new version.
            number: The number that the version had in a registry that was lost; numbers before it may stay
                without a version. None for the next one.

        Raises:
            StoreError: the bundle has another number already, or another bundle has or had this one, or the
                store gives no number below its highest one.
        """
        ...

    def versions(self, name: str) -> list[VersionRecord]:
        """Return every version of a policy, oldest first; none where the name is unknown."""
        ...

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; a robot that asks next is given that version.

        Raises:
            StoreError: there is no such version.
        """
        ...

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias."""
        ...

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a version, e.g. the verdict of the release gate.

        Raises:
            StoreError: there is no such version, or a value is longer than `MAX_TAG_CHARS`.
        """
        ...

    def set_description(self, name: str, version: int, text: str) -> None:
        """Set the description of a version, in Markdown.

        Raises:
            StoreError: there is no such version, or the text is longer than `MAX_DESCRIPTION_CHARS`.
        """
        ...

    def model_tags(self, name: str) -> dict[str, str]:
        """Return the tags of a registered name; none where the name is unknown."""
        ...

    def set_model_tags(self, name: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a registered name, one after the other; an unknown name gets an entry.

        Raises:
            StoreError: a value is longer than `MAX_TAG_CHARS`.
        """
        ...

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version that no alias names. Its number is never given to another bundle.

        The bundle's files stay: they are a model of the run that exported it.

        Raises:
            StoreError: there is no such version, or an alias names it.
        """
        ...

    def restore_files(self, record: VersionRecord, bundle_folder: Path) -> None:
        """Write the files of a version again, from a good bundle; its number and model id stay.

        Files that are missing, changed or no part of the bundle are as `Tracker.log_model` wrote them
        afterwards.

        Raises:
            BundleError: the bundle is damaged.
            StoreError: the bundle is another one than the version's, or the files are not good afterwards.
        """
        ...

    def exclusive(self, name: str) -> AbstractContextManager[bool]:
        """Exclude other release commands on a policy, by a lock of the store that ends with the process.

        Returns:
            A context whose value is True where the store excludes, False where it cannot, as over HTTP.

        Raises:
            BusyError: on entry, another process holds the lock. The message says which one.
            ConfigError: on entry, the variables name no lock that can be used.
        """
        del name  # a store without locks
        return contextlib.nullcontext(False)

    def is_remote(self) -> bool:
        """Return whether a look at a version's files downloads them from another machine."""
        return False

    def download(self, record: VersionRecord, folder: Path) -> tuple[Path, str]:
        """Copy a version's files below a folder; return its bundle's folder and the served policy's SHA-256.

        The digests are not compared here; lineage compares them. The served policy is what the registry
        gives to other programs, e.g. MLflow's `model.onnx`; a registry without one gives policy.onnx.

        Raises:
            BundleError: the files are missing or damaged.
            StoreError: the code is `MISSING_FILES` where files are missing, which are then written again;
                another one where the store refuses, e.g. because of a permission.
        """
        ...

    def version(self, name: str, which: int | str) -> VersionRecord:
        """Return one version, by its number or by an alias.

        Raises:
            StoreError: there is no such version. The message lists the versions.
        """
        records = self.versions(name)
        for record in records:
            if str(record.version) == str(which) or which in record.aliases:
                return record
        found = ", ".join("/".join([str(item.version), *item.aliases]) for item in records) or "none"
        raise StoreError(f"policy '{name}' has no version or alias '{which}'; it has {found}.")

    def alias(self, name: str, alias: str) -> VersionRecord | None:
        """Return the version that an alias names, or None."""
        return next((record for record in self.versions(name) if alias in record.aliases), None)

    def fetch_bundle(self, name: str, which: int | str, folder: Path) -> Bundle:
        """Copy the bundle of a version or alias to a folder that does not exist yet, verified.

        Raises:
            StoreError: there is no such version, or its digest is not the registered one.
            BundleError: the bundle is damaged.
            StorageError: the folder cannot be written.
        """
        record = self.version(name, which)
        with tempfile.TemporaryDirectory() as temporary:
            fetched, _ = self.download(record, Path(temporary))
            bundle = open_bundle(fetched)
            if bundle.digest != record.bundle_digest:
                raise StoreError(
                    f"version {record.version} of policy '{name}': expected bundle {record.bundle_digest}, "
                    f"found {bundle.digest}. Its artifacts were changed; register the bundle again."
                )
            with storage_errors(folder):
                shutil.copytree(fetched, folder)
        return bundle

    def smoke_load(self, name: str, which: int | str, bundle: Bundle) -> float:
        """Load a version as a reader of the registry does, and run it on the bundle's golden observations.

        Args:
            name: Registered name.
            which: Number of a version, or an alias.
            bundle: Bundle whose golden actions it must give.

        Returns:
            The largest difference, as a share of the action's range.

        Raises:
            StoreError: it is another bundle.
            BundleError: the policy does not load, or differs by more than the contract's golden tolerance.
        """
        from sacpipe.robot.policy import OnnxPolicy

        with tempfile.TemporaryDirectory() as temporary:
            found = self.fetch_bundle(name, which, Path(temporary) / "bundle")
        if found.digest != bundle.digest:
            raise StoreError(
                f"{Address(name, str(which), isinstance(which, str))}: expected bundle {bundle.digest}, "
                f"found {found.digest}. Another client moved the alias; run the command again after it."
            )
        return OnnxPolicy(found).golden_error


def check_allowed(version: str, barred: str) -> None:
    """Check that a version is not barred.

    Raises:
        GateError: it is, by the rule `store`.
    """
    if barred:
        short = barred if len(barred) <= _MAX_SHOWN_CHARS else f"{barred[:_MAX_SHOWN_CHARS]}..."
        advice = "Name another version, or allow it by `sacpipe promote --again --reason TEXT`."
        raise GateError(f"{version} is barred {short.rstrip('.')}. {advice}", "store")


def checked_digest(version: str, digest: str) -> str:
    """Return the digest that a version names: paths are made of it, so it has no other characters.

    Raises:
        GateError: it is no SHA-256.
    """
    if not re.fullmatch("[0-9a-f]{64}", digest):
        fault = f"{version}: expected a digest in the tag {BUNDLE_TAG}, found '{digest[:80]}'."
        raise GateError(f"{fault} Register the bundle again.", "digest")
    return digest


class RegistrySource(Source):
    """An alias or a version of a registry as a source of bundles."""

    def __init__(self, registry: Registry, address: Address) -> None:
        self._registry, self._address = registry, address

    def resolve(self) -> ResolvedBundle:
        """Return the bundle of the version that the address names now.

        Raises:
            GateError: the version is barred, or has no digest of a bundle.
            StoreError: there is no such version, or the registry failed.
        """
        record = self._registry.version(self._address.name, self._address.which)
        text = f"{self._address} version {record.version}"
        check_allowed(text, record.barred)
        return ResolvedBundle(checked_digest(text, record.bundle_digest), text, lambda: self._read(record))

    def bars(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return the bars of the policy's versions, by the digests of their bundles."""
        records = self._registry.versions(self._address.name)
        return {one.bundle_digest: one.barred for one in records if one.bundle_digest in known}

    def _read(self, record: VersionRecord) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as temporary:
            fetched, _ = self._registry.download(record, Path(temporary))
            return read_source(fetched, allow_hard_links=False)
