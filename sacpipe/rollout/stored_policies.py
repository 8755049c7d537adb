"""Policies of bundles that were in service here: the one to start with, and the reserve to fall back to.

The load gate checks a stored bundle again, in a child process. What is bad or barred is passed over.
"""

import threading
from collections.abc import Callable, Collection
from pathlib import Path

from sacpipe.core.errors import BundleError, GateError, StorageError
from sacpipe.core.fence import first_error
from sacpipe.core.logging import report_line
from sacpipe.robot.load_gate import LoadGateSettings
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.context import describe_error
from sacpipe.rollout.load_gate_process import run_load_gate_in_child
from sacpipe.rollout.sources import Source, read_source
from sacpipe.rollout.store_state import StoredBundle

_ANSWER_S = 10.0
"""Maximum time that a start waits for the source to say what is barred, in seconds."""


def load_starting_policy(source: Source, store: BundleStore, settings: LoadGateSettings) -> OnnxPolicy:
    """Load the policy to start with, and make its bundle the store's current one.

    The load gate checks the bundles of the store that were in service again, the newest first. Meanwhile the
    source is asked which of them it bars. A robot starts without a network too: then the bars count that the
    store has noted. The source's bundle is pulled only where no bundle of the store passes.

    Args:
        source: Asked for bars; resolved only where no bundle of the store passes.
        store: Holds the bundles that were in service.
        settings: Acceptance settings of the load gate.

    Raises:
        BundleError: no bundle of the store passes, and the source's bundle is refused.
        StoreError: no bundle of the store passes, and the source failed.
        StorageError: no bundle of the store passes, and the store cannot be written.
    """
    question = _Question(source, store)
    for stored in store.good():
        policy = _load(stored, store, settings)
        if policy is None:
            continue
        question.wait()
        if (bar := store.barred.get(policy.digest)) is not None:
            report_line(f"bundle {policy.digest[:12]} of the store does not start: it is barred: {bar}")
            continue
        if store.current() != stored:
            try:
                store.set_current(stored.bundle_digest, stored.source)
            except StorageError as exc:  # a good policy serves, whatever the disk does
                report_line(
                    f"bundle {stored.bundle_digest[:12]} serves and is not the store's current one: {exc}"
                )
        return policy
    for notice in store.notices:  # no bundle of the store passes: the notices may say why
        report_line(notice)
    return _load_of_source(source, store, settings, question)


def load_reserve(
    store: BundleStore,
    settings: LoadGateSettings,
    check: Callable[[OnnxPolicy], None],
    without: Collection[str],
) -> OnnxPolicy | None:
    """Load the newest bundle that was in service here and may act; None where there is none.

    Args:
        store: Holds the bundles.
        settings: Acceptance settings of the load gate.
        check: Raises a BundleError for a policy that cannot be used.
        without: Digests that are passed over.
    """
    for stored in store.good():
        if stored.bundle_digest in without:
            continue
        policy = _load(stored, store, settings, check)
        if policy is not None:
            return policy
    return None


class _Question:
    """The question which stored bundles are barred, put to the source in a thread of its own."""

    def __init__(self, source: Source, store: BundleStore) -> None:
        self._store, self._known = store, {digest: store.barred.get(digest, "") for digest in store.held()}
        self._found: dict[str, str] = {}
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        if self._known:
            self._thread = threading.Thread(target=self._ask, args=(source,), name="bars", daemon=True)
            self._thread.start()

    def _ask(self, source: Source) -> None:
        def ask() -> None:
            self._found = source.bars(self._known)

        self._error = first_error(ask)

    def wait(self) -> None:
        """Note the answer, if it comes in time. The second call does nothing."""
        if (thread := self._thread) is None:
            return
        self._thread = None
        thread.join(_ANSWER_S)
        error = TimeoutError(f"no answer within {_ANSWER_S:g} s") if thread.is_alive() else self._error
        error = error or first_error(lambda: self._store.note_bars(self._found, self._known))
        if error is not None:
            noted = "the bars count that the store has noted"
            report_line(f"what the source bars is not known at the start, {noted}: {describe_error(error)}")


def _load(
    stored: StoredBundle,
    store: BundleStore,
    settings: LoadGateSettings,
    check: Callable[[OnnxPolicy], None] = lambda _: None,
) -> OnnxPolicy | None:
    """Return the policy of a stored bundle; None, and a line about it, where it is refused."""
    try:
        policy = _pass_again(store.path(stored.bundle_digest), settings)
        check(policy)
    except BundleError as exc:
        report_line(f"bundle {stored.bundle_digest[:12]} of the store cannot serve: {exc}")
        return None
    return policy


def _load_of_source(
    source: Source, store: BundleStore, settings: LoadGateSettings, question: _Question
) -> OnnxPolicy:
    """Load the policy of the source's bundle, and make that the store's current one."""
    question.wait()
    resolved = source.resolve()
    if (bar := store.barred.get(resolved.digest)) is not None:  # a folder has no bars of its own
        raise GateError(f"{resolved.source}: bundle {resolved.digest[:12]} is barred: {bar}", "store")
    admitted = run_load_gate_in_child(resolved.pull(), settings)
    store.set_current(store.add(admitted), resolved.source)
    return admitted.policy


def _pass_again(folder: Path, settings: LoadGateSettings) -> OnnxPolicy:
    """Check a stored bundle again; a second time where it was too slow, as a starting machine is busy."""
    # The digests of the store verify every byte: a further name, as of a backup by `cp -al`, is harmless.
    files = read_source(folder, allow_hard_links=True)
    try:
        return run_load_gate_in_child(files, settings).policy
    except GateError as exc:
        if exc.rule != "timing":
            raise
        return run_load_gate_in_child(files, settings).policy
