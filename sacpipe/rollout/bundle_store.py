"""The bundle store of a robot: bundles that passed its load gate, by digest, and which of them is current.

    current.json        the current bundle, the ones before it, bundles on trial, bundles never used again
    barred.json         bundles that the source bars
    evidence/           how each bundle's rollout ended, one file for each bundle, by digest
    lock                held by the one process that has the store open
    sha256/<digest>/    a bundle, as docs/bundle.md describes it

A bundle gets its name by one rename after all its bytes are synced, and current.json is replaced by a rename,
so a process that is killed at any moment leaves a store that opens. Unfinished files have names that end in
`.tmp`; the next opening removes them. A store that cannot be written is read, and a current.json that a power
cut tore is recovered (sacpipe/rollout/store_state.py). docs/robot-store.md describes the format.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TextIO

from sacpipe.bundle.files import read_files
from sacpipe.bundle.reader import check_digests
from sacpipe.core.errors import BundleError, StorageError
from sacpipe.core.files import (
    make_folder,
    remove_leftovers,
    storage_errors,
    sync_folder,
    write_bytes,
    write_json,
)
from sacpipe.core.locks import hold
from sacpipe.core.temporary import temporary_name
from sacpipe.robot.load_gate import AdmittedBundle
from sacpipe.rollout.noted_bars import NotedBars
from sacpipe.rollout.store_state import FORMAT_VERSION, StoredBundle, StoreState, read_state, recover_state
from sacpipe.rollout.stored_files import remove, repair

_TORN_NAME = "current.torn.json"
_LOST = (
    "Lost: bundles marked bad by hand, and bundles that were current without a rollout here; those come from "
    f"the source again. The torn file is kept as {_TORN_NAME}; docs/robot-store.md."
)
"""What the operator should know about a recovered state."""
_MAX_TRIALS = 2
"""Number of unfinished trials after which a bundle is bad; a single one may have another cause."""


class BundleStore:
    """A robot's store, open in this process alone. Any thread may call its methods.

    Args:
        folder: Created where it does not exist.

    Raises:
        BusyError: another process has it open.
        BundleError: current.json or barred.json has another version, or a content that is not its own.
        StorageError: there is no store, and none can be made.
    """

    def __init__(self, folder: Path) -> None:
        self._bundles, self._state_file = folder / "sha256", folder / "current.json"
        self._evidence = folder / "evidence"
        self._mutex = threading.Lock()
        self.unwritable: str | None = None
        """Reason for which the store is only read; None where it can be written."""
        self.notices: tuple[str, ...] = ()
        """What the operator should know about the opening, such as a recovered state."""
        self._lock: TextIO | None = None
        try:
            self._open_for_writing(folder)
        except StorageError as exc:
            if not os.path.exists(self._state_file):  # noqa: PTH110 - `Path.exists` raises without permission
                raise
            self.unwritable = str(exc)
            self.notices = (
                f"the store is only read: {exc} Rollouts are refused until a restart can write it.",
            )
        try:
            self._bars = NotedBars(folder / "barred.json")
            self.notices += self._bars.notices
            self._state = self._load_state()
            self._mark_crashing()
        except BaseException:
            self.close()
            raise

    def _open_for_writing(self, folder: Path) -> None:
        """Lock the store and remove what a killed process left.

        Raises:
            BusyError: another process has it open.
            StorageError: the folder cannot be written.
        """
        with storage_errors(folder):
            make_folder(self._bundles)
        busy = f"another process has the store {folder} open. Stop it, or use another store."
        self._lock = hold(folder / "lock", busy)
        try:
            with storage_errors(folder):
                self._remove_leftovers()
        except BaseException:
            self.close()
            raise
        if not os.access(folder, os.W_OK) or not os.access(self._bundles, os.W_OK):
            self.close()
            raise StorageError(f"cannot write {folder}: permission is missing or the disk is read-only.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the store for another process. This object cannot be used again."""
        if self._lock is not None:
            self._lock.close()

    @property
    def bad(self) -> Mapping[str, str]:
        """Bundles that are never used again: digest to reason."""
        return self._state.bad

    @property
    def barred(self) -> Mapping[str, str]:
        """Bundles that must not begin to act: digest to who barred it, when and why."""
        return self._bars.barred

    def current(self) -> StoredBundle | None:
        """Return the current bundle, unverified; None where there never was one, or all of them are bad."""
        return next(iter(self._state.history), None)

    def previous(self) -> StoredBundle | None:
        """Return the bundle that was current before the current one, unverified."""
        return next(iter(self._state.history[1:]), None)

    def good(self) -> Iterator[StoredBundle]:
        """Walk the bundles that were current, are neither bad nor barred, and are whole; the newest first."""
        for item in self._state.history:
            digest = item.bundle_digest
            if digest not in self._state.bad and digest not in self.barred and self._is_whole(digest):
                yield item

    def held(self) -> tuple[str, ...]:
        """Return the digests of the bundles that are or were current, the newest first."""
        return tuple(item.bundle_digest for item in self._state.history)

    def source_of(self, digest: str) -> str:
        """Return the source of a bundle that is or was current; empty for another bundle."""
        return next((item.source for item in self._state.history if item.bundle_digest == digest), "")

    def path(self, digest: str) -> Path:
        """Return the folder of a bundle, whether it exists or not."""
        return self._bundles / digest

    def verify(self, digest: str) -> None:
        """Verify the bytes of a bundle of the store again.

        The contract is not parsed: the operator may have taken a guard out of `enabled_guards` since, and its
        code must not run. The load gate decides again before the bundle serves.

        Raises:
            BundleError: the store has no such bundle, or its bytes have changed.
        """
        path = self.path(digest)
        try:
            found = check_digests(read_files(path))
        except BundleError as exc:
            raise BundleError(f"bundle {path}: {exc}", exc.rule) from exc
        if found != digest:
            raise BundleError(
                f"{path}: expected bundle {digest}, found {found}. Add the bundle again.", "store"
            )

    def add(self, admitted: AdmittedBundle) -> str:
        """Store a bundle that passed the load gate and return its digest. It is not current yet.

        Where the store has the bundle already, files that differ are replaced: this repairs a damaged one.

        Raises:
            BundleError: the bundle is marked bad.
            StorageError: the disk is full or the store cannot be written.
        """
        digest = admitted.report.bundle_digest
        with self._mutex:
            self._check_not_bad(digest)
            self._check_writable()
            target = self.path(digest)
            if target.exists():
                repair(target, admitted.files)
                return digest
            temporary = self._temporary(digest)
            try:
                for name, data in admitted.files.items():
                    write_bytes(temporary / name, data)
                with storage_errors(target):
                    temporary.rename(target)
                    sync_folder(self._bundles)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return digest

    def set_current(self, digest: str, source: str) -> None:
        """Make a bundle of the store the current one.

        Args:
            digest: Digest that `add` returned.
            source: Path, or alias with version, from which it was resolved.

        Raises:
            BundleError: the bundle is marked bad, is not in the store, or is damaged.
            StorageError: the store cannot be written.
        """
        with self._mutex:
            self._check_not_bad(digest)
            self.verify(digest)
            before = tuple(item for item in self._state.history if item.bundle_digest != digest)
            history = (StoredBundle(bundle_digest=digest, source=source), *before)
            self._write(self._changed(history=history, on_trial=self._trials_but(digest)))

    def begin_trial(self, digest: str) -> None:
        """Record that a bundle's trial begins. It ends when the bundle is current or bad, or by `end_trial`.

        A bundle with two unfinished trials is marked bad when the store is opened next.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._mutex:
            on_trial = self._state.on_trial
            self._write(self._changed(on_trial=on_trial | {digest: on_trial.get(digest, 0) + 1}))

    def end_trial(self, digest: str) -> None:
        """Record that a bundle's trial ended and that the process survived it.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._mutex:
            if digest in self._state.on_trial:
                self._write(self._changed(on_trial=self._trials_but(digest)))

    def mark_bad(self, digest: str, reason: str) -> None:
        """Never use a bundle again. Where it is current, the one before it becomes current.

        Raises:
            StorageError: the store cannot be written; the bundle is bad until the process ends.
        """
        with self._mutex:
            history = tuple(item for item in self._state.history if item.bundle_digest != digest)
            bad = self._state.bad | {digest: reason}
            self._state = self._changed(history=history, bad=bad, on_trial=self._trials_but(digest))
            self._write(self._state)

    def note_bars(self, found: Mapping[str, str], held: Collection[str]) -> None:
        """Note which bundles the source bars, for the time without it.

        Args:
            found: As `Source.bars` returns it: a text bars a bundle, an empty one lifts its bar.
            held: Digests that the source was asked about. Bars of other bundles are dropped.

        Raises:
            StorageError: the store cannot be written; the bars hold until the process ends.
        """
        with self._mutex:
            self._bars.note(found, held)
            if not self._bars.is_written:
                self._check_writable()
                self._bars.write()

    def keep_evidence(self, digest: str, evidence: Mapping[str, Any]) -> None:
        """Keep the evidence of a bundle's last trial for the operator who decides about it.

        Args:
            digest: Digest of the bundle; the store need not have it any more.
            evidence: Plain JSON values. They replace the evidence of an earlier trial.

        Raises:
            StorageError: the store cannot be written.
        """
        self._check_writable()
        tree = {"format_version": FORMAT_VERSION, **evidence}
        write_json(self._evidence / f"{digest}.json", tree)

    def prune(self, keep: int) -> tuple[str, ...]:
        """Remove old bundles and return their digests.

        A bundle that was added and was never current is removed too: do not prune between `add` and
        `set_current`.

        Args:
            keep: Number of bundles to keep. The current one and the one before it are always kept. Barred
                ones do not count, so that the robot has as many to fall back to.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._mutex:
            self._check_writable()
            keep = max(keep, 2)
            allowed = [item for item in self._state.history if item.bundle_digest not in self.barred][:keep]
            newest = self._state.history[:keep]
            history = tuple(item for item in self._state.history if item in newest or item in allowed)
            if history != self._state.history:
                self._write(self._changed(history=history))
            kept = {item.bundle_digest for item in history}
            found = {path.name for path in self._bundles.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)}
            removed = sorted(found - kept)
            with storage_errors(self._bundles):
                for digest in removed:
                    # Renamed first: an incomplete bundle must not have its digest as a name.
                    temporary = self._temporary(digest)
                    self.path(digest).rename(temporary)
                    remove(temporary)
                sync_folder(self._bundles)
        return tuple(removed)

    def _remove_leftovers(self) -> None:
        remove_leftovers(self._state_file.parent)
        remove_leftovers(self._evidence)
        for path in self._bundles.iterdir():
            if path.name.endswith(".tmp"):
                remove(path)
            else:
                remove_leftovers(path)  # of a bundle that was being repaired

    def _load_state(self) -> StoreState:
        """Read current.json; where a power cut tore it, recover it and keep the torn file.

        Raises:
            BundleError: it has another version or content.
        """
        found = read_state(self._state_file)
        if found.torn is None:
            return found.state
        self._state = recover_state(self._evidence, self._bundles)
        accepted, bad = len(self._state.history), len(self._state.bad)
        self.notices += (
            f"{self._state_file} was empty or torn. By the evidence {accepted} accepted, {bad} bad. {_LOST}",
        )
        if self.unwritable is None:
            try:  # first the copy: a kill in between leaves the torn file
                write_bytes(self._state_file.with_name(_TORN_NAME), found.torn)
                self._write(self._state)
            except StorageError as exc:
                self.notices += (f"the recovered state was not written: {exc}",)
        return self._state

    def _mark_crashing(self) -> None:
        """Mark a bundle bad if too many processes died in its trials."""
        crashing = {digest: count for digest, count in self._state.on_trial.items() if count >= _MAX_TRIALS}
        for digest, count in crashing.items():
            reason = f"the process died {count} times while it was tried"
            known = {"bundle_digest": digest, "source": self.source_of(digest), "divergence": None}
            evidence = known | {"outcome": "rejected", "reason": reason, "ended_unix_s": time.time()}
            try:
                self.mark_bad(digest, reason)
                self.keep_evidence(digest, evidence)
            except StorageError as exc:  # bad until the process ends; it is counted again at the next opening
                self.notices += (f"bundle {digest[:12]} is bad: {reason}; not written to the store: {exc}",)

    def _changed(self, **changes: Any) -> StoreState:
        return StoreState(**(dict(self._state) | changes))

    def _trials_but(self, digest: str) -> dict[str, int]:
        return {key: count for key, count in self._state.on_trial.items() if key != digest}

    def _check_writable(self) -> None:
        if self.unwritable is not None:
            raise StorageError(self.unwritable)

    def _write(self, state: StoreState) -> None:
        self._check_writable()
        write_json(self._state_file, state.as_tree())
        self._state = state

    def _check_not_bad(self, digest: str) -> None:
        if (reason := self._state.bad.get(digest)) is not None:
            raise BundleError(
                f"bundle {digest}: expected one that may be used, found it marked bad: {reason}. "
                "Export another one.",
                "store",
            )

    def _is_whole(self, digest: str) -> bool:
        try:
            self.verify(digest)
        except BundleError:
            return False
        return True

    def _temporary(self, digest: str) -> Path:
        return temporary_name(self._bundles / digest)
