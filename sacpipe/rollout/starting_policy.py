"""The policy that a following server starts with: the newest of the store that passes, else the source's."""

from pathlib import Path

from sacpipe.core.errors import BundleError, GateError, StorageError
from sacpipe.core.logging import report_line
from sacpipe.robot.load_gate import LoadGateSettings
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.load_gate_process import run_load_gate_in_child
from sacpipe.rollout.sources import Source, read_source


def load_starting_policy(source: Source, store: BundleStore, settings: LoadGateSettings) -> OnnxPolicy:
    """Load the policy to start with, and make its bundle the store's current one.

    The load gate checks the bundles of the store that were in service again, the newest first. The source is
    resolved only where none passes: a robot starts without a network.

    Args:
        source: Resolved only where no bundle of the store passes.
        store: Holds the bundles that were in service.
        settings: Acceptance settings of the load gate.

    Raises:
        BundleError: no bundle of the store passes, and the source's bundle is refused.
        StoreError: no bundle of the store passes, and the source failed.
        StorageError: no bundle of the store passes, and the store cannot be written.
    """
    for stored in store.good():
        try:
            policy = _pass_again(store.path(stored.bundle_digest), settings)
        except BundleError as exc:
            report_line(f"bundle {stored.bundle_digest[:12]} of the store cannot serve: {exc}")
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
    resolved = source.resolve()
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
