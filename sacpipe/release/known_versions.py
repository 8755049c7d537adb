"""The versions that the files under release/ name, and their outputs, restored from DVC's cache or remote."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import BundleError, ConfigError, ReleaseError, StoreError
from sacpipe.core.files import write_json
from sacpipe.project.dvc.commands import DvcStore
from sacpipe.project.dvc.lock_file import LockEntries, read_lock
from sacpipe.project.workspace import Workspace
from sacpipe.release.gate import kept_verdict
from sacpipe.release.head import read_head
from sacpipe.release.history import History, release_folder
from sacpipe.release.verdict import Verdict, verdict_of
from sacpipe.release.versions import read_versions
from sacpipe.release.world import Disk
from sacpipe.tracking.ledger import Origin, check_outs, record_stage, register_bundle, with_read_outs
from sacpipe.tracking.registry import BUNDLE_TAG, POLICY_TAG, Registry, VersionRecord
from sacpipe.tracking.tracker import COMMIT_TAG, Tracker

REPAIR_TAG = "sacpipe.release_repair"
"""Tag of a registered model: digests of the bundles that a repair registers again; empty at its end."""


@dataclass(frozen=True)
class KnownVersion:
    """A version as the files under release/ name it."""

    model: str
    """Registered name."""
    number: int
    bundle: str
    """Digest of the bundle."""
    entries: LockEntries
    """Entries of dvc.lock by stage; empty where no file has them, as of a version adopted by hand."""
    tags: dict[str, str]
    commit: str | None
    verdict: str | None
    """Digest of the verdict in release/NAME/verdicts; None where there is none."""
    in_history: bool
    """Whether the history names it."""

    def __str__(self) -> str:
        """Return the address and the digest, shortened."""
        return f"{self.model}/{self.number}: bundle {self.bundle[:12]}"


def policies(disk: Disk) -> list[str]:
    """Return the registered names that have a folder in release/."""
    return [name for name in disk.list("release") if disk.list(f"release/{name}")]


def require_current(registry: Registry, history: History) -> None:
    """Check that the history has the registry's newest record.

    Raises:
        ReleaseError: this clone is behind: what others released since is not known here.
    """
    head = read_head(registry, history.model)
    if head is not None and head.sha256 not in history.records:
        raise ReleaseError(
            f"{release_folder(history.model)}: this clone is behind: the newest record is {head}. `git pull` "
            "fetches it, after its writer's `git push`."
        )


def begun_repair(registry: Registry, model: str) -> list[str]:
    """Return the digests of the bundles that a repair, running or killed, registers again."""
    return registry.model_tags(model).get(REPAIR_TAG, "").split()


def note_repair(registry: Registry, model: str, bundles: Sequence[str]) -> None:
    """Note what a repair registers again; a kill leaves it without tags, or without the champion's alias."""
    registry.set_model_tags(model, {REPAIR_TAG: " ".join(bundles)})


def known_versions(disk: Disk, history: History) -> list[KnownVersion]:
    """Return every version of a policy, one for each bundle, by number.

    A bundle that was registered again under another number has the last one. Of two bundles with one number,
    the one in the history comes first.

    Raises:
        StoreError: a file in release/NAME/versions is damaged.
    """
    found: dict[str, KnownVersion] = {}
    for record in history.records.values():
        for release in (record.before, record.to):
            if release is not None and release.bundle not in found:
                found[release.bundle] = KnownVersion(
                    history.model, release.version, release.bundle, {}, {}, None, None, in_history=True
                )
        if (to := record.to) is not None:
            known = found[to.bundle]
            found[to.bundle] = KnownVersion(
                history.model,
                to.version,
                to.bundle,
                record.entries or known.entries,
                {},
                record.commit or known.commit,
                record.verdict or known.verdict,
                in_history=True,
            )
    for file in read_versions(disk, history.model):
        before = found.get(file.bundle)
        found[file.bundle] = KnownVersion(
            history.model,
            file.number,
            file.bundle,
            file.entries,
            file.tags,
            file.tags.get(COMMIT_TAG) or (before.commit if before else None),
            before.verdict if before else None,
            in_history=before is not None and before.in_history,
        )
    return sorted(found.values(), key=lambda one: (one.number, not one.in_history, one.bundle))


@contextlib.contextmanager
def restored_outputs(workspace: Workspace, known: KnownVersion, *stages: str) -> Iterator[Workspace]:
    """Provide a folder with the outputs of a version that the ledger reads.

    The project itself is provided where out/ holds them. Else DVC places them in a temporary folder.

    Args:
        workspace: The project, with DVC's cache.
        known: The version.
        stages: Names of the needed stages; all by default. The stage `export` must be among them.

    Raises:
        StoreError: no file names the outputs, or neither DVC's cache nor its remote has all of them.
    """
    if not known.entries:
        raise StoreError(f"no file in release/{known.model} has the entries of dvc.lock that made it.")
    entries = {stage: entry for stage, entry in known.entries.items() if not stages or stage in stages}
    if _holds(workspace, known, entries):
        yield workspace
        return
    with tempfile.TemporaryDirectory() as name:
        older = Workspace(Path(name))
        read = {stage: with_read_outs(stage, entry) for stage, entry in entries.items()}
        if stages == ("export",):
            bundle = workspace.bundle.relative_to(workspace.root).as_posix()
            read["export"]["outs"] = [out for out in read["export"]["outs"] if out["path"] == bundle]
        DvcStore(workspace.root).place(read, older.root)
        write_json(older.dvc_lock, {"schema": "2.0", "stages": entries})
        found = bundle_digest(older.bundle, follow_cache_links=True)
        if found != known.bundle:
            raise StoreError(
                f"{known}: its entries of dvc.lock give another bundle, {found[:12]}. `git log release` has "
                "the change of its file."
            )
        yield older


def _holds(workspace: Workspace, known: KnownVersion, entries: LockEntries) -> bool:
    """Return whether out/ has the outputs of a version, undamaged."""
    try:
        present = read_lock(workspace.dvc_lock)
        for stage, entry in entries.items():
            if present.get(stage) != entry:
                return False
            check_outs(workspace, stage, entry)
        return bundle_digest(workspace.bundle, follow_cache_links=True) == known.bundle
    except (BundleError, ConfigError, StoreError):
        return False


def known_verdict(workspace: Workspace, disk: Disk, known: KnownVersion) -> Verdict | None:
    """Return the verdict in the history, or the last one that this clone kept; None without either."""
    if known.verdict is not None:
        data = disk.read(f"{release_folder(known.model)}/verdicts/{known.verdict}.json")
        with contextlib.suppress(ConfigError, ValueError):  # of another format
            if data is not None:
                return verdict_of(json.loads(data))
    return kept_verdict(workspace, known.bundle)


def record_known(older: Workspace, tracker: Tracker, known: KnownVersion, root: Path) -> None:
    """Record the stages of a version.

    Args:
        older: The folder of `restored_outputs`.
        tracker: The ledger.
        known: The version.
        root: Folder of the project, which has the version's commit.

    Raises:
        StoreError: the tracker failed.
    """
    for stage in known.entries:
        record_stage(older, tracker, stage, origin=Origin(root, known.commit))


def register_known(
    older: Workspace, tracker: Tracker, known: KnownVersion, *, number: int | None
) -> VersionRecord:
    """Register the bundle of a version whose stages are recorded, with its tags; return the version.

    Args:
        older: The folder of `restored_outputs`.
        tracker: The ledger.
        known: The version.
        number: The number it shall have; None for the next one.

    Raises:
        StoreError: the tracker failed, or can no longer give the number.
    """
    return show_tags(tracker.registry, known, register_bundle(older, tracker, known.model, number=number))


def show_tags(registry: Registry, known: KnownVersion, version: VersionRecord) -> VersionRecord:
    """Set the tags that a registered version lacks; return the version.

    Raises:
        StoreError: the registry failed.
    """
    missing = {key: text for key, text in known.tags.items() if key not in version.tags}
    if not missing:
        return version
    registry.set_version_tags(known.model, version.version, missing)
    return registry.version(known.model, version.version)


def reserve(tracker: Tracker, known: KnownVersion, like: VersionRecord) -> None:
    """Take the number of a version whose bytes are lost, so that no other bundle is given it.

    Args:
        tracker: The ledger.
        known: The version; every registered one has a lower number.
        like: A registered version, whose run and model the place-holder names.

    Raises:
        StoreError: the registry failed.
    """
    tags = {BUNDLE_TAG: known.bundle, POLICY_TAG: ""}
    tracker.registry.register(
        known.model, like.model_id, like.run_id, known.bundle, tags, number=known.number
    )
    tracker.registry.delete_version(known.model, known.number)
