"""Garbage collection: what no version, history, commit, recording or pool needs any more.

    version   a registered candidate that was never released, has no alias, and is none of the newest
    bundle    files of a bundle in the project's tracking folder that no version names
    work      checkpoints of a finished run that is not the present one
    cache     files in DVC's cache that nothing names; DVC's own rules, and its remotes stay as they are

docs/ledger.md has the rules. A caller that removes holds the workspace's locks.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError, StorageError
from sacpipe.core.files import read_json, storage_errors
from sacpipe.project.dvc.commands import DvcStore
from sacpipe.project.dvc.lock_file import LockEntries, read_lock
from sacpipe.project.git import data_commits, head_commit, lock_digests
from sacpipe.project.stage_key import locked_inputs, locked_outs
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import Workspace
from sacpipe.release.committed_records import require_whole
from sacpipe.release.history import read_history
from sacpipe.release.known_versions import known_versions, policies, require_current
from sacpipe.release.real_world import ProjectDisk, ProjectGit
from sacpipe.release.versions import read_versions
from sacpipe.robot.recording.format import HEADER_NAME
from sacpipe.tracking.folder.files import PolicyFile, find
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Tracker

KEPT_CANDIDATES = 10
"""Number of the newest candidates that are kept without another reason."""

_SHA256 = re.compile("[0-9a-f]{64}")
_WITHOUT_RECORDINGS = ("out", "work", "__pycache__")


class Garbage(NamedTuple):
    """One thing that is not needed."""

    kind: Literal["version", "bundle", "work", "cache"]
    name: str
    size_bytes: int
    why: str
    path: Path | None = None
    """File or folder; None for a version, which is in the registry."""


@dataclass(frozen=True)
class Needed:
    """What the project's release records name."""

    released: frozenset[str] = frozenset()
    """Digests of the bundles in the history."""
    entries: Mapping[str, LockEntries] = field(default_factory=dict)
    """Entries of dvc.lock of the history's bundles and of the registered versions, by the bundle's digest."""


@dataclass(frozen=True)
class Collector:
    """Finds what is not needed in one project, and removes it."""

    workspace: Workspace
    tracker: Tracker
    model: str
    """Registered name."""
    needed: Needed
    kept_candidates: int = KEPT_CANDIDATES

    def versions(self) -> list[VersionRecord]:
        """Return the registered versions that are not needed, oldest first.

        Raises:
            StoreError: the registry failed.
            StorageError: a recording of the project, or a commit, cannot be read.
        """
        kept = self.needed.released | recorded_bundles(self.workspace) | self._committed()
        known = self.tracker.registry.versions(self.model)
        free = [one for one in known if not one.aliases and one.bundle_digest not in kept]
        return free[: len(free) - self.kept_candidates] if len(free) > self.kept_candidates else []

    def _committed(self) -> set[str]:
        """Return the bundles that the dvc.lock of any commit names: who checks it out may release them."""
        committed = lock_digests(self.workspace.root)
        path = self.workspace.bundle.relative_to(self.workspace.root).as_posix()
        return {
            bundle
            for bundle, entries in self.needed.entries.items()
            if locked_outs(entries.get("export") or {}).get(path) in committed
        }

    def local_files(self, gone: Sequence[VersionRecord]) -> list[Garbage]:
        """Return the bundles and the resume folders that are not needed once some versions are gone.

        Raises:
            StoreError: a record of the ledger is damaged.
        """
        return [*self._bundles({one.bundle_digest for one in gone}), *self._work_folders()]

    def cache(self, gone: Sequence[VersionRecord], *, remove: bool) -> list[Garbage]:
        """Return the files of DVC's cache that are not needed once some versions are gone, and remove them.

        Args:
            gone: Versions whose entries do not count.
            remove: Whether the files are removed.

        Raises:
            ConfigError: the cache may hold files of another project, or DVC does not read the commits.
            StoreError: DVC failed.
        """
        dvc = DvcStore(self.workspace.root)
        self._check_cache(dvc)
        commits = data_commits(self.workspace.root)
        write_line(f"DVC's cache: reading {len(commits)} commits that changed data")
        digests = {one.bundle_digest for one in gone}
        entries = [tree for bundle, tree in self.needed.entries.items() if bundle not in digests]
        found = dvc.garbage(entries, commits, remove=remove)
        why = "named by no commit, version, history or pool"
        return [Garbage("cache", path.parent.name + path.name, size, why, path) for path, size in found]

    def describe(self, gone: Sequence[VersionRecord]) -> list[Garbage]:
        """Return versions as garbage."""
        why = f"never released, no alias, in no commit, and not among the newest {self.kept_candidates}"
        return [Garbage("version", f"{self.model}/{one.version}", 0, why) for one in gone]

    def remove(self, gone: Sequence[VersionRecord], files: Sequence[Garbage]) -> None:
        """Remove versions of the registry, and then files.

        Raises:
            StoreError: the registry failed, e.g. because a version was given an alias meanwhile.
            StorageError: a file cannot be removed.
        """
        for one in gone:
            self._remove_file(one)  # first: after a kill between the two, the next call finds the version
            self.tracker.registry.delete_version(self.model, one.version)
        for item in files:
            if item.path is not None:
                with storage_errors(item.path):
                    shutil.rmtree(item.path)

    def _remove_file(self, version: VersionRecord) -> None:
        """Remove the files of a version in release/, so that a rebuild does not register it again."""
        disk = ProjectDisk(self.workspace.root)
        for file in read_versions(disk, self.model):
            if file.bundle == version.bundle_digest:
                disk.remove(file.path)

    def _bundles(self, gone: set[str]) -> Iterator[Garbage]:
        """Yield bundles of the project's own folder; one that a variable names may serve other projects."""
        root = self.workspace.state / "tracking"
        in_use = {
            version.model_id
            for path in root.glob("policies/*.json")
            if (policy := find(PolicyFile, path)) is not None
            for version in policy.versions
            if version.name != self.model or version.bundle_digest not in gone
        }
        for path in sorted(root.glob("bundles/*")):
            if path.is_dir() and not path.is_symlink() and path.name not in in_use:
                yield Garbage("bundle", path.name[:12], _size(path), "no version names it", path)

    def _work_folders(self) -> Iterator[Garbage]:
        """Yield resume folders, without those of the present runs and of the run that the next one extends.

        A run that is not finished keeps its folder, because it continues from there.
        """
        present = read_lock(self.workspace.dvc_lock)
        kept = {locked_inputs(entry).key for entry in present.values()} | self._extended(present)
        for path in sorted(self.workspace.work("any").parent.glob("*")):
            if not _SHA256.fullmatch(path.name) or path.is_symlink() or path.name in kept:
                continue
            run = self.tracker.find_run(path.name)
            if run is not None and run.status == "FINISHED":
                why = f"finished run of {run.stage}, not the present one"
                yield Garbage("work", path.name[:12], _size(path), why, path)

    def _extended(self, present: LockEntries) -> set[str]:
        """Return the runs that the present run extended, and that the next one extends."""
        trees = [locked_inputs(present["train"]).params.get("params.yaml", {})] if "train" in present else []
        if self.workspace.params.is_file():
            trees.append(read_yaml(self.workspace.params))
        sections = [tree.get("training") for tree in trees]
        return {str(one.get("extends")) for one in sections if isinstance(one, Mapping)}

    def _check_cache(self, dvc: DvcStore) -> None:
        facts = dvc.cache()
        if facts.is_shared or not facts.folder.resolve().is_relative_to(facts.root.resolve()):
            setting = "cache.shared is set" if facts.is_shared else f"it is {facts.folder}, outside of it"
            raise ConfigError(
                f"DVC's cache is shared with other projects than {facts.root} ({setting}), and no project "
                "knows what another one needs. Nothing in it was removed. `dvc gc --projects` takes the "
                "folders of all of them."
            )
        if not facts.has_commits and head_commit(self.workspace.root) is not None:
            raise ConfigError(
                f"core.no_scm is set in {facts.root}, so DVC does not read the commits and what they need. "
                "Nothing in its cache was removed. `dvc config --unset core.no_scm` lets it."
            )


def open_collector(workspace: Workspace, tracker: Tracker, model: str, kept_candidates: int) -> Collector:
    """Return the collector of a project, with what all its release records name.

    Raises:
        ReleaseError: a history is damaged, or this clone is behind the registry's newest record: what others
            released meanwhile is not known here.
        StoreError: a version's file is damaged, or the registry failed.
    """
    disk = ProjectDisk(workspace.root)
    require_whole(ProjectGit(workspace.root))
    released: set[str] = set()
    entries: dict[str, LockEntries] = {}
    for name in {model, *policies(disk)}:
        history = read_history(disk, name)
        require_current(tracker.registry, history)
        known = known_versions(disk, history)
        released |= {one.bundle for one in known if one.in_history}
        entries |= {one.bundle: one.entries for one in known if one.entries}
    return Collector(workspace, tracker, model, Needed(frozenset(released), entries), kept_candidates)


def recorded_bundles(workspace: Workspace) -> set[str]:
    """Return the bundles whose policies acted in a recording: of an ingested one, or one in the project.

    Raises:
        StorageError: a recording's header or data/ingested.json cannot be read.
    """
    found: set[str] = set()
    if workspace.ingested.is_file():
        for recording in _read(workspace.ingested, "recordings"):
            found |= {policy["bundle_sha256"] for policy in recording["policies"]}
    for folder, folders, files in os.walk(workspace.root):
        folders[:] = [name for name in folders if name[0] != "." and name not in _WITHOUT_RECORDINGS]
        if HEADER_NAME in files:
            folders.clear()
            found |= {policy["bundle_sha256"] for policy in _read(Path(folder) / HEADER_NAME, "policies")}
    return found


def _read(path: Path, key: str) -> list[Any]:
    """Return a list of a JSON file.

    Raises:
        StorageError: the file cannot be read, or lacks it.
    """
    tree = read_json(path, StorageError)
    found = tree.get(key) if isinstance(tree, Mapping) else None
    if not isinstance(found, list):
        raise StorageError(f"{path}: expected a list `{key}`, found none. Move the file out of the project.")
    return found


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder, without those that another command removes meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += 0 if path.is_dir() else path.lstat().st_size
    return total
