"""A store that cannot be written, was copied with hard links, or lost its state in a power cut still serves."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from follow_fixtures import Counted, Robot, name
from unprivileged import unprivileged

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import BundleError, GateError, StorageError, StoreUnavailableError
from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout import bundle_store as store_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.follower import Follower
from sacpipe.rollout.sources import PathSource, Source, read_source
from sacpipe.rollout.stored_policies import load_starting_policy
from sacpipe.server.service import Service

SETTINGS = FollowSettings.parse(FollowSettings.DEFAULT | {"poll_s": 0.01, "retry_s": 0.01})
GATE = SETTINGS.gate
pytestmark = pytest.mark.usefixtures("load_gate_here")


class NoSource(Source):
    """A network that is not there."""

    def resolve(self):
        raise StoreUnavailableError("MLflow at there does not answer.")

    def bars(self, known):
        return self.resolve()


def admit(folder):
    return run_load_gate(read_source(folder, allow_hard_links=False), GATE, p99_us=1.0)


def evidence(digest, outcome, ended_unix_s):
    return {
        "format_version": 2,
        "bundle_digest": digest,
        "source": f"models:/reach of {digest[:4]}",
        "outcome": outcome,
        "reason": "it fell" if outcome in ("rejected", "rolled_back") else "watched for 60 s",
        "divergence": None,
        "ended_unix_s": ended_unix_s,
    }


@pytest.fixture
def digests(bundles):
    return [bundle_digest(bundle) for bundle in bundles]


@pytest.fixture
def folder(tmp_path, bundles, digests):
    """A store in which both bundles were current by a rollout, the second one last."""
    with BundleStore(tmp_path / "store") as store:
        for number, (bundle, digest) in enumerate(zip(bundles, digests, strict=True)):
            store.set_current(store.add(admit(bundle)), str(bundle))
            store.keep_evidence(digest, evidence(digest, "accepted", 1000.0 + number))
    return tmp_path / "store"


@pytest.fixture
def read_only(folder, bundles):
    """The same store where this user may read it and not write it."""
    base = Path(tempfile.mkdtemp(prefix="sacpipe-read-only-"))
    base.chmod(0o755)
    shutil.copytree(folder, base / "store")
    shutil.copytree(bundles[0], base / "outside")
    paths = [base / "store", *(base / "store").rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with unprivileged():
        yield base / "store"
    for path in paths:
        path.chmod(0o755)
    shutil.rmtree(base)


def test_a_store_that_may_only_be_read_serves_its_good_bundle(read_only, digests):
    admitted = admit(read_only.parent / "outside")
    with BundleStore(read_only) as store:
        assert "cannot write" in store.unwritable
        assert store.notices[0].startswith("the store is only read: cannot write")
        assert load_starting_policy(NoSource(), store, GATE).digest == digests[1]
        for change in (
            lambda: store.add(admitted),
            lambda: store.set_current(digests[0], "x"),
            lambda: store.begin_trial(digests[0]),
            lambda: store.prune(2),
            lambda: store.keep_evidence(digests[0], {}),
        ):
            with pytest.raises(StorageError, match="permission is missing"):
                change()
        with pytest.raises(StorageError):
            store.mark_bad(digests[1], "it fell")
        assert store.current().bundle_digest == digests[0]  # until this process ends


def test_a_rollout_into_a_store_that_may_only_be_read_is_refused_with_the_reason(read_only, digests):
    with BundleStore(read_only) as store:
        source = Counted(PathSource(read_only.parent / "outside", allow_hard_links=False))
        service = Service(load_starting_policy(source, store, GATE))
        with Follower(source, service, store, SETTINGS) as follower:
            robot = Robot(service, source, store, follower)
            robot.looked()
            robot.looked()
            assert robot.kinds == ["started", "store", "noticed", "refused"]
            text = follower.status().events[0].text
            assert text.startswith("refused by the rule 'store': a rollout needs a store that can be written")
            assert robot.ask()["parameters"]["bundle_sha256"] == digests[1]


def test_a_file_system_that_is_read_only_is_found_by_asking_it(folder, monkeypatch, digests):
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root on a read-only mount, where the lock opens
    with BundleStore(folder) as store:
        assert "read-only" in store.unwritable
        assert load_starting_policy(NoSource(), store, GATE).digest == digests[1]


def test_a_full_disk_at_the_start_does_not_keep_a_good_bundle_from_serving(folder, monkeypatch, digests):
    os.truncate(folder / "sha256" / digests[1] / "policy.onnx", 5)
    with BundleStore(folder) as store:
        store.begin_trial(digests[1])
        store.begin_trial(digests[1])

    def full(*_, **__):
        raise StorageError("the disk is full.")

    monkeypatch.setattr(store_module, "write_json", full)
    for _ in range(2):
        with BundleStore(folder) as store:
            assert load_starting_policy(NoSource(), store, GATE).digest == digests[0]
            assert dict(store.bad) == {digests[1]: "the process died 2 times while it was tried"}
            assert "not written to the store: the disk is full." in store.notices[0]


def test_a_folder_without_a_store_that_cannot_be_made_is_an_error(tmp_path):
    base = Path(tempfile.mkdtemp(prefix="sacpipe-read-only-"))
    base.chmod(0o555)
    try:
        with unprivileged(), pytest.raises(StorageError, match="permission is missing"):
            BundleStore(base / "store")
    finally:
        base.chmod(0o755)
        shutil.rmtree(base)


def test_a_backup_with_hard_links_and_its_original_serve(folder, digests, tmp_path):
    subprocess.run(["cp", "-al", folder, tmp_path / "backup"], check=True)
    for path in (tmp_path / "backup", folder):
        with BundleStore(path) as store:
            assert load_starting_policy(NoSource(), store, GATE).digest == digests[1]


def test_what_changes_in_a_store_does_not_change_its_backup_with_hard_links(
    folder, digests, tmp_path, bundles
):
    subprocess.run(["cp", "-al", folder, tmp_path / "backup"], check=True)
    with BundleStore(folder) as store:
        store.mark_bad(digests[1], "it fell")
        store.keep_evidence(digests[0], evidence(digests[0], "accepted", 3.0))
        store.prune(2)
    with BundleStore(tmp_path / "backup") as store:
        assert (store.current().bundle_digest, dict(store.bad)) == (digests[1], {})
        assert load_starting_policy(NoSource(), store, GATE).digest == digests[1]
    kept = json.loads((tmp_path / "backup" / "evidence" / f"{digests[0]}.json").read_bytes())
    assert kept["ended_unix_s"] == 1000.0


def test_a_hard_link_whose_bytes_changed_is_refused_all_the_same(folder, digests, tmp_path):
    os.link(folder / "sha256" / digests[1] / "policy.onnx", tmp_path / "other-name")
    os.truncate(tmp_path / "other-name", 5)
    with BundleStore(folder) as store:
        assert load_starting_policy(NoSource(), store, GATE).digest == digests[0]


def test_a_source_from_outside_with_hard_links_is_refused_as_before(bundles, tmp_path):
    copy = shutil.copytree(bundles[0], tmp_path / "copy")
    os.link(copy / "policy.onnx", tmp_path / "other-name")
    with pytest.raises(GateError, match="found a hard link with 2"):
        read_source(copy, allow_hard_links=False)


TORN = {
    "empty": b"",
    "zeros": bytes(4096),
    "half": b'{\n  "bad": {},\n  "format_ver',
    "of another file": b"\x7fELF\x02\x01\x01",
    "no object": b"[]",
    "not UTF-8": b'{"bad": "\xff"}',
    "two objects": b"{}{}",
}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_torn_state_is_recovered_from_the_evidence(folder, digests, torn):
    (folder / "current.json").write_bytes(torn)
    with BundleStore(folder) as store:
        assert [item.bundle_digest for item in store.good()] == digests[::-1]
        assert store.current().source == f"models:/reach of {digests[1][:4]}"
        assert load_starting_policy(NoSource(), store, GATE).digest == digests[1]
        (notice,) = store.notices
        assert "current.json was empty or torn. By the evidence 2 accepted, 0 bad. Lost: " in notice
    assert (folder / "current.torn.json").read_bytes() == torn
    with BundleStore(folder) as store:  # once is enough
        assert (store.notices, store.current().bundle_digest) == ((), digests[1])


@pytest.mark.parametrize("outcome", ["rejected", "rolled_back"])
def test_a_bundle_that_failed_stays_bad_after_its_state_was_torn(folder, digests, outcome, bundles):
    with BundleStore(folder) as store:
        store.keep_evidence(digests[1], evidence(digests[1], outcome, 2000.0))
    (folder / "current.json").write_bytes(b"")
    with BundleStore(folder) as store:
        assert load_starting_policy(NoSource(), store, GATE).digest == digests[0]
        assert dict(store.bad) == {digests[1]: "it fell"}
        with pytest.raises(BundleError, match="marked bad: it fell"):
            store.add(admit(bundles[1]))


def test_a_bundle_in_whose_trial_the_process_died_stays_bad(folder, digests):
    with BundleStore(folder) as store:
        store.begin_trial(digests[1])
        store.begin_trial(digests[1])
    with BundleStore(folder) as store:
        assert digests[1] in store.bad
    (folder / "current.json").write_bytes(b"")
    with BundleStore(folder) as store:
        assert list(store.bad) == [digests[1]]
        assert store.current().bundle_digest == digests[0]


@pytest.mark.parametrize("outcome", ["withdrawn", "replaced", None, "torn", "of another bundle"])
def test_what_no_evidence_says_comes_from_the_source(folder, digests, outcome, bundles):
    for digest in digests:
        path = folder / "evidence" / f"{digest}.json"
        if outcome is None:
            path.unlink()
        elif outcome == "torn":
            path.write_bytes(path.read_bytes()[:40])
        elif outcome == "of another bundle":
            path.write_text(json.dumps(evidence("ab" * 32, "accepted", 1.0)))
        else:
            path.write_text(json.dumps(evidence(digest, outcome, 1.0)))
    (folder / "current.json").write_bytes(b"")
    with BundleStore(folder) as store:
        with pytest.raises(StoreUnavailableError):
            load_starting_policy(NoSource(), store, GATE)
        assert (
            load_starting_policy(Counted(PathSource(bundles[0], allow_hard_links=False)), store, GATE).digest
            == digests[0]
        )
        assert store.current().bundle_digest == digests[0]


@pytest.mark.parametrize("outcome", [None, "withdrawn", "rolled_back"])
def test_the_only_bundle_of_a_store_serves_unless_it_was_in_a_rollout(folder, digests, outcome):
    shutil.rmtree(folder / "sha256" / digests[0])
    shutil.rmtree(folder / "evidence")
    (folder / "evidence").mkdir()
    if outcome is not None:
        path = folder / "evidence" / f"{digests[1]}.json"
        path.write_text(json.dumps(evidence(digests[1], outcome, 1.0)))
    (folder / "current.json").write_bytes(b"")
    with BundleStore(folder) as store:
        if outcome is None:
            assert load_starting_policy(NoSource(), store, GATE).digest == digests[1]
            assert store.current().source == "unknown, recovered from the store"
        else:
            with pytest.raises(StoreUnavailableError):
                load_starting_policy(NoSource(), store, GATE)


def test_a_recovered_bundle_that_is_damaged_does_not_serve(folder, digests):
    (folder / "current.json").write_bytes(b"")
    os.truncate(folder / "sha256" / digests[1] / "policy.onnx", 5)
    with BundleStore(folder) as store:
        assert load_starting_policy(NoSource(), store, GATE).digest == digests[0]


def test_a_kill_during_the_recovery_leaves_the_torn_file(folder, digests, monkeypatch):
    (folder / "current.json").write_bytes(b"torn")
    with monkeypatch.context() as patch:
        patch.setattr(BundleStore, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            BundleStore(folder)
    with BundleStore(folder) as store:
        assert store.notices
        assert store.current().bundle_digest == digests[1]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_a_state_that_is_no_file_is_refused_and_not_waited_for(folder, kind):
    state = folder / "current.json"
    state.unlink()
    if kind == "pipe":
        os.mkfifo(state)
    elif kind == "folder":
        state.mkdir()
    else:
        state.symlink_to("/dev/zero" if kind == "device" else state)
    with pytest.raises(BundleError, match=r"current.json: expected what docs/robot-store.md describes"):
        BundleStore(folder)


def test_the_events_of_a_recovered_store_are_in_the_followers_status(folder, bundles, digests, tmp_path):
    (folder / "current.json").write_bytes(b"")
    name(bundles[1], tmp_path / "named")
    with BundleStore(folder) as store:
        source = Counted(PathSource(tmp_path / "named", allow_hard_links=False))
        service = Service(load_starting_policy(source, store, GATE))
        with Follower(source, service, store, SETTINGS) as follower:
            robot = Robot(service, source, store, follower)
            robot.looked()
            assert robot.kinds == ["started", "store"]
            assert "was empty or torn" in follower.status().events[0].text
