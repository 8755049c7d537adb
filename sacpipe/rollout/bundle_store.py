"""The bundles a robot keeps: those that passed its gate, by digest, and which of them serves.

    current.json        which bundle serves, which served before it, which is tried, which are never used
    evidence/           what became of each bundle that was tried, one file each, by digest
    lock                held by the one process that has the store open
    sha256/<digest>/    a bundle, as docs/bundle.md describes it

A bundle gets its name by one rename when all its bytes are synced, and current.json is replaced whole,
so a process that is killed at any moment leaves a store that opens. What it left half done has a name
that ends in `.tmp`, and goes when the store is opened next. docs/robot-store.md is the format's page.
"""

import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from sacpipe.bundle.contract import Sha256
from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError
from sacpipe.core.files import (
    make_folder,
    remove_leftovers,
    storage_errors,
    sync_folder,
    write_bytes,
    write_json,
)
from sacpipe.core.locks import hold
from sacpipe.robot.load_gate import AdmittedBundle


class StoredBundle(Config):
    """A bundle that serves or served."""

    bundle_digest: Sha256
    source: str
    """What it was resolved from, in the words of whoever asked: a path, or an alias with its version."""


class StoreState(Config):
    """What current.json holds."""

    format_version: Literal[1]
    served: tuple[StoredBundle, ...]
    """Each digest once; first the one that serves, then the one before it, and so on."""
    bad: dict[Sha256, str]
    """Bundles that are never used again, and why."""
    on_trial: dict[Sha256, int] = Field(default_factory=dict)
    """Bundles whose trial a process began and did not end, and how many did."""


_EMPTY = StoreState(format_version=1, served=(), bad={})
_MOST_DEATHS = 2
"""Of processes that tried a bundle: one may have had another cause."""


class BundleStore:
    """A robot's store, open in this process alone. Its operations may be called from any thread.

    Args:
        folder: Made where there is none.

    Raises:
        BusyError: another process has it open.
        BundleError: current.json is damaged.
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._bundles, self._state_file = folder / "sha256", folder / "current.json"
        self._evidence = folder / "evidence"
        self._mutex = threading.Lock()
        with storage_errors(folder):
            make_folder(self._bundles)
        busy = f"another process has the store {folder} open. Stop it, or use another store."
        self._lock = hold(folder / "lock", busy)
        try:
            with storage_errors(folder):
                self._remove_leftovers()
            self._state = self._read_state()
            self._refuse_killers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another process open the store. What was closed stays closed."""
        self._lock.close()

    @property
    def bad(self) -> Mapping[str, str]:
        """The bundles that are never used again, and why; by digest."""
        return self._state.bad

    def current(self) -> StoredBundle | None:
        """Return the bundle that serves, unverified; None where none ever did or all of them were bad."""
        return next(iter(self._state.served), None)

    def previous(self) -> StoredBundle | None:
        """Return the bundle that served before the current one, unverified."""
        return next(iter(self._state.served[1:]), None)

    def good(self) -> Iterator[StoredBundle]:
        """Walk the bundles that served, are not bad and are whole on disk; the last one first."""
        for item in self._state.served:
            if item.bundle_digest not in self._state.bad and self._is_whole(item.bundle_digest):
                yield item

    def source_of(self, digest: str) -> str:
        """Return what a bundle that serves or served was resolved from; empty where it is none of these."""
        return next((item.source for item in self._state.served if item.bundle_digest == digest), "")

    def path(self, digest: str) -> Path:
        """Return where a bundle stands, or would."""
        return self._bundles / digest

    def open(self, digest: str) -> Bundle:
        """Verify a bundle of the store again and return what it holds.

        Raises:
            BundleError: there is none such, or its bytes are no longer what they were.
        """
        bundle = open_bundle(self.path(digest))
        if bundle.digest != digest:
            fault = f"expected bundle {digest}, found {bundle.digest}. Add the bundle again."
            raise BundleError(f"{self.path(digest)}: {fault}", "store")
        return bundle

    def add(self, admitted: AdmittedBundle) -> str:
        """Keep a bundle that passed the gate and return its digest. It does not serve yet.

        One that is kept already gets the very files that passed now: a damaged one is mended by this.

        Raises:
            BundleError: it is one of the bad ones.
            StorageError: the disk is full or the store cannot be written.
        """
        digest = admitted.report.bundle_digest
        with self._mutex:
            self._check_not_bad(digest)
            target = self.path(digest)
            if target.exists():
                _mend(target, admitted.files)
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
        """Say that a bundle of the store serves from now on.

        Args:
            digest: One that `add` returned.
            source: What it was resolved from, to be told to people.

        Raises:
            BundleError: it is one of the bad ones, is not in the store or is damaged there.
            StorageError: the store cannot be written.
        """
        with self._mutex:
            self._check_not_bad(digest)
            self.open(digest)
            before = tuple(item for item in self._state.served if item.bundle_digest != digest)
            served = (StoredBundle(bundle_digest=digest, source=source), *before)
            self._write(self._changed(served=served, on_trial=self._trials_but(digest)))

    def begin_trial(self, digest: str) -> None:
        """Note that a bundle is tried from now on, until it is current or bad or `end_trial` is called.

        A bundle whose trial two processes began and did not end is bad from the next opening on.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._mutex:
            on_trial = self._state.on_trial
            self._write(self._changed(on_trial=on_trial | {digest: on_trial.get(digest, 0) + 1}))

    def end_trial(self, digest: str) -> None:
        """Note that a bundle is tried no longer, and that the process lives.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._mutex:
            if digest in self._state.on_trial:
                self._write(self._changed(on_trial=self._trials_but(digest)))

    def mark_bad(self, digest: str, reason: str) -> None:
        """Never use a bundle again. Where it serves, the one before it is the current one from now on.

        Raises:
            StorageError: the store cannot be written; it is bad until the process ends.
        """
        with self._mutex:
            served = tuple(item for item in self._state.served if item.bundle_digest != digest)
            bad = self._state.bad | {digest: reason}
            self._state = self._changed(served=served, bad=bad, on_trial=self._trials_but(digest))
            self._write(self._state)

    def keep_evidence(self, digest: str, evidence: Mapping[str, Any]) -> None:
        """Keep what a bundle's trial showed, for whoever decides about it; the last trial's alone.

        Args:
            digest: Of the bundle, which need not be in the store any more.
            evidence: Plain JSON values.

        Raises:
            StorageError: the store cannot be written.
        """
        write_json(self._evidence / f"{digest}.json", evidence)

    def prune(self, keep: int) -> tuple[str, ...]:
        """Remove all bundles but the last that served, and return the digests of those that went.

        A bundle that was added and does not serve yet goes too: prune before an add or after a
        `set_current`, not between the two.

        Args:
            keep: How many stay. The current one and the one before it stay in any case.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._mutex:
            served = self._state.served[: max(keep, 2)]
            if served != self._state.served:
                self._write(self._changed(served=served))
            kept = {item.bundle_digest for item in served}
            found = {path.name for path in self._bundles.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)}
            gone = sorted(found - kept)
            with storage_errors(self._bundles):
                for digest in gone:
                    # Under another name first: a half removed bundle must not stand under its digest.
                    temporary = self._temporary(digest)
                    self.path(digest).rename(temporary)
                    _remove(temporary)
                sync_folder(self._bundles)
        return tuple(gone)

    def _remove_leftovers(self) -> None:
        remove_leftovers(self._state_file.parent)
        remove_leftovers(self._evidence)
        for path in self._bundles.iterdir():
            if path.name.endswith(".tmp"):
                _remove(path)
            else:
                remove_leftovers(path)  # of a bundle that was being mended

    def _read_state(self) -> StoreState:
        try:
            return StoreState.model_validate_json(self._state_file.read_bytes())
        except FileNotFoundError:
            return _EMPTY
        except (OSError, ValidationError) as exc:
            raise BundleError(
                f"{self._state_file}: expected what docs/robot-store.md describes, found {exc}. "
                "Move it away to begin without a current bundle; the bundles themselves stay.",
                "store",
            ) from exc

    def _refuse_killers(self) -> None:
        deaths = {digest: count for digest, count in self._state.on_trial.items() if count >= _MOST_DEATHS}
        for digest, count in deaths.items():
            self.mark_bad(digest, f"the process died {count} times while it was tried")

    def _changed(self, **changes: Any) -> StoreState:
        return StoreState(**(dict(self._state) | changes))

    def _trials_but(self, digest: str) -> dict[str, int]:
        return {key: count for key, count in self._state.on_trial.items() if key != digest}

    def _write(self, state: StoreState) -> None:
        write_json(self._state_file, state.as_tree())
        self._state = state

    def _check_not_bad(self, digest: str) -> None:
        if (reason := self._state.bad.get(digest)) is not None:
            raise BundleError(
                f"bundle {digest}: expected one that may serve, found it marked bad: {reason}. "
                "Export another one.",
                "store",
            )

    def _is_whole(self, digest: str) -> bool:
        try:
            self.open(digest)
        except BundleError:
            return False
        return True

    def _temporary(self, digest: str) -> Path:
        return self._bundles / f".{digest}.{secrets.token_hex(4)}.tmp"


def _remove(path: Path) -> None:
    """Remove a folder, or whatever else somebody put there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _mend(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a bundle's folder hold these files and no others; a kill in between leaves it no worse."""
    with storage_errors(folder):
        for name, data in files.items():
            path = folder / name
            if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
                write_bytes(path, data)
        for path in folder.iterdir():
            if path.name not in files:
                path.unlink()
        sync_folder(folder)
