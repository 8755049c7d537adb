"""Find and repair what a registry lost: a version deleted by hand, a flipped byte, a missing file.

Every release command calls `heal` first. It looks at the champion, at the one before it, and at every version
that an alias names; over HTTP at the champion alone, because each look downloads the bundle. DVC's cache or
remote gives the bytes. What cannot be repaired is reported, and the command goes on.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import (
    MISSING_FILES,
    BundleError,
    BusyError,
    ConfigError,
    ReleaseError,
    StoreError,
    StoreUnavailableError,
)
from sacpipe.core.files import sha256_bytes
from sacpipe.project.workspace import Workspace
from sacpipe.release.head import read_head
from sacpipe.release.history import History
from sacpipe.release.known_versions import (
    KnownVersion,
    begun_repair,
    known_verdict,
    known_versions,
    note_repair,
    record_known,
    register_known,
    restored_outputs,
)
from sacpipe.release.lease import Lease, leased
from sacpipe.release.log import CHAMPION, alias_now, bundle_of
from sacpipe.release.model_card import model_card
from sacpipe.release.releases import Releases
from sacpipe.release.versions import write_version
from sacpipe.release.world import World
from sacpipe.tracking.registry import Registry, VersionRecord
from sacpipe.tracking.tracker import Tracker


def heal(
    workspace: Workspace, tracker: Tracker, world: World, model: str, *, everything: bool = False
) -> list[str]:
    """Repair what the registry lost of the versions of a policy; return a line for each find.

    Nothing is written where nothing is wrong. An alias is set only where it went with its version: MLflow
    deletes both. A registry without this history's head is another one, new or lost: a rebuild fills it.

    Args:
        workspace: The project, whose lock the caller holds.
        tracker: Its tracker.
        world: Registry and files of the release commands.
        model: Registered name.
        everything: Look at the files of every version, as a rebuild does; else at the champion and the
            versions beside it.

    Raises:
        ReleaseError: the history is damaged or forked, or the head was changed by hand.
        StoreError: the registry failed; StoreUnavailableError where it does not answer.
    """
    healer = _Healer(workspace, tracker, world, Releases(world, model).history(), everything)
    return list(healer.lines()) if everything or healer.has_head() else []


def damage(registry: Registry, version: VersionRecord) -> str | None:
    """Return what is wrong with the stored files of a version; None where a robot can use them.

    Raises:
        StoreError: the registry refuses to give them; StoreUnavailableError where it does not answer.
        StorageError: this machine's temporary folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            fetched, onnx_sha256 = registry.download(version, Path(folder))
            bundle = open_bundle(fetched)
        except (BundleError, StoreError) as exc:
            if isinstance(exc, StoreError) and exc.code != MISSING_FILES:
                raise
            return str(exc).replace(f"{folder}/", "")
    if bundle.digest != version.bundle_digest:
        return f"expected bundle {version.bundle_digest[:12]}, found {bundle.digest[:12]}"
    policy = sha256_bytes(bundle.policy_onnx)
    return (
        None
        if onnx_sha256 == policy
        else f"the served policy.onnx is {onnx_sha256[:12]}, expected {policy[:12]}"
    )


@dataclass(frozen=True)
class _Healer:
    """The check of one policy."""

    workspace: Workspace
    tracker: Tracker
    world: World
    history: History
    everything: bool

    def has_head(self) -> bool:
        """Return whether the registry's head is a record of this history."""
        head = read_head(self.world.registry, self.history.model)
        return head is not None and head.sha256 in self.history.records

    def lines(self) -> Iterator[str]:
        """Repair, and yield a line for each find."""
        present = {one.bundle_digest: one for one in self.world.registry.versions(self.history.model)}
        begun = self._begun()
        lost = []
        for bundle in dict.fromkeys([*self._watched(present), *begun]):
            version = present.get(bundle)
            if version is not None and (fault := damage(self.world.registry, version)):
                yield self._write_again(version, fault)
            if version is None or bundle in begun:
                lost.append(bundle)
        if lost:
            yield from self._restore(lost)

    def _restore(self, lost: list[str]) -> Iterator[str]:
        """Register deleted versions again under the lease, and set the alias that went with the champion."""
        try:
            with leased(self.world, self.history.model) as lease:
                if self.has_head():  # else another promoter has published since
                    present, begun = self.world.registry.versions(self.history.model), self._begun()
                    registered = {one.bundle_digest for one in present}.difference(begun)
                    lost = [bundle for bundle in lost if bundle not in registered]
                    note_repair(self.world.registry, self.history.model, lost)
                    for bundle in lost:
                        yield from self._register_again(bundle)
                    if bundle_of(self.history.champion) in lost:
                        yield from self._point_again(lease)
                    note_repair(self.world.registry, self.history.model, [])
        except (BusyError, ConfigError, ReleaseError) as exc:
            names = "; ".join(str(self._known(bundle)) for bundle in lost)
            yield f"{names}: deleted from the registry, and not repaired: {exc}"

    def _begun(self) -> list[str]:
        """Return the bundles that a killed repair began to register again."""
        noted = begun_repair(self.world.registry, self.history.model)
        known = {one.bundle for one in known_versions(self.world.disk, self.history)} if noted else ()
        return [bundle for bundle in noted if bundle in known]

    def _watched(self, present: dict[str, VersionRecord]) -> list[str]:
        """Return the digests of the versions to look at, the champion first."""
        if self.everything:
            known = {one.bundle for one in known_versions(self.world.disk, self.history)}
            return [bundle for bundle in present if bundle in known]
        newest = [release.bundle for release in self.history.champions()[:2]]
        if self.world.registry.is_remote():
            return newest[:1]
        in_history = {
            release.bundle
            for record in self.history.records.values()
            for release in (record.before, record.to)
            if release is not None
        }
        with_alias = [bundle for bundle, one in present.items() if one.aliases and bundle in in_history]
        return list(dict.fromkeys([*newest, *with_alias]))

    def _known(self, bundle: str) -> KnownVersion:
        known = known_versions(self.world.disk, self.history)
        return next(one for one in known if one.bundle == bundle)

    def _write_again(self, version: VersionRecord, fault: str) -> str:
        """Write the files of a version from a good bundle; return the line."""
        known = self._known(version.bundle_digest)
        what = f"{version.name}/{version.version} is damaged in the registry: {fault.rstrip('.')}."
        try:
            with restored_outputs(self.workspace, known, "export") as older:
                self.world.registry.restore_files(version, older.bundle)
        except StoreUnavailableError:
            raise
        except (BundleError, StoreError) as exc:
            return f"{what} It was not repaired: {exc} {_again(known)}"
        still = damage(self.world.registry, version)
        return (
            f"{what} Repaired: its files were written again from DVC." if still is None else f"{what} {still}"
        )

    def _register_again(self, bundle: str) -> Iterator[str]:
        """Register a version that was deleted, under its number where the registry gives it."""
        known = self._known(bundle)
        what = f"{known} was deleted from the registry."
        try:
            with restored_outputs(self.workspace, known) as older:
                record_known(older, self.tracker, known, self.workspace.root)
                version = self._number(older, known)
                verdict = known_verdict(self.workspace, self.world.disk, known)
                card = model_card(older, version, verdict)
                self.world.registry.set_description(known.model, version.version, card)
        except StoreUnavailableError:
            raise
        except (BundleError, StoreError) as exc:
            yield f"{what} It was not repaired: {exc} {_again(known)}"
            return
        write_version(self.world, version, known.entries)
        if version.version == known.number:
            yield f"{what} Repaired: it was registered again, under its number."
        else:
            yield (
                f"{what} Repaired: it is registered again, as version {version.version}: this registry never "
                f"gives a number twice. A robot pinned to {known.model}/{known.number} has no source: "
                f"pin it to {known.model}/{version.version}."
            )

    def _number(self, older: Workspace, known: KnownVersion) -> VersionRecord:
        try:
            return register_known(older, self.tracker, known, number=known.number)
        except StoreUnavailableError:
            raise
        except StoreError:
            return register_known(older, self.tracker, known, number=None)

    def _point_again(self, lease: Lease) -> Iterator[str]:
        """Set the champion's alias again, which was deleted together with its version."""
        champion, model = self.history.champion, self.history.model
        present = self.world.registry.versions(model)
        version = next((one for one in present if champion and one.bundle_digest == champion.bundle), None)
        if version is None or self.history.open_intent is not None:
            return
        self.world.prove(self.world.registry, version)
        lease.require()  # a proof takes seconds, in which others may act
        if self.has_head() and alias_now(self.world, model) is None:
            self.world.registry.set_alias(model, CHAMPION, version.version)
            yield f"{model}@{CHAMPION} names version {version.version} again."


def _again(known: KnownVersion) -> str:
    """Return how the bytes of a version are had again."""
    commit = f"`git checkout {known.commit[:12]}` and" if known.commit else "In its commit,"
    return (
        f"`dvc push` in a clone that has the bytes of bundle {known.bundle[:12]} sends them; {commit} "
        "`sacpipe run` make them again where no clone has them."
    )
