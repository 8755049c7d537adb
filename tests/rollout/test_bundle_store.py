"""The store keeps what passed the gate, knows what served, and opens after a kill at any moment."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_factories import make_bundle
from guard_factories import make_settings
from guard_package import install_guard
from repository import ROOT
from robot_fixtures import GOLDEN_ACTIONS, GOLDEN_OBSERVATIONS, SPEC, make_model

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.signature import make_key, sign_bundle
from sacpipe.core.errors import BundleError, BusyError, GateError, StorageError
from sacpipe.robot.load_gate import LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout import bundle_store as store_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.sources import read_source

SETTINGS = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)


def admit(folder):
    return run_load_gate(read_source(folder, allow_hard_links=False), SETTINGS)


@pytest.fixture
def store(tmp_path):
    with BundleStore(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def first(build):
    return admit(build())


@pytest.fixture
def second(build_other):
    return admit(build_other)


@pytest.fixture
def third(build, first):
    """The first one with other golden actions."""
    assert first
    return admit(build(actions=[[1.25, 2.5], [3.0, 4.0 - 8e-6], [-2.0, -4.0]]))


def serve(store, *bundles) -> list[str]:
    """Add bundles, let each serve in turn, and return their digests."""
    digests = [store.add(admitted) for admitted in bundles]
    for number, digest in enumerate(digests, 1):
        store.set_current(digest, f"models:/reach/{number}")
    return digests


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAdding:
    def test_a_new_store_is_empty(self, store):
        assert (store.current(), store.previous(), next(store.good(), None), dict(store.bad)) == (
            None,
            None,
            None,
            {},
        )
        assert (store.unwritable, store.notices) == (None, ())

    def test_keeps_the_very_bytes_under_their_digest(self, store, tmp_path, first):
        digest = store.add(first)
        assert digest == bundle_digest(tmp_path / "bundle")
        assert store.path(digest) == tmp_path / "store" / "sha256" / digest
        assert tree(store.path(digest)) == dict(first.files)
        assert OnnxPolicy(store.path(digest)).golden_error == 0.0
        assert store.current() is None

    def test_twice_is_once(self, store, tmp_path, first):
        store.add(first)
        before = tree(tmp_path / "store")
        store.add(first)
        assert tree(tmp_path / "store") == before

    def test_again_repairs_a_damaged_one(self, store, first):
        path = store.path(store.add(first))
        (path / "policy.onnx").write_bytes(b"rot")
        (path / "golden.npz").unlink()
        (path / "stray").write_bytes(b"")
        with pytest.raises(BundleError, match=r"bundle .*: stray: expected no such file"):
            store.verify(path.name)
        store.add(first)
        assert tree(path) == dict(first.files)

    def test_a_signed_copy_brings_its_signatures(self, store, tmp_path, first):
        path = store.path(store.add(first))
        make_key(tmp_path / "key")
        sign_bundle(tmp_path / "bundle", tmp_path / "key")
        (tmp_path / "bundle" / "model.sig").write_bytes(b"{}")  # for others; no robot reads it
        assert store.add(admit(tmp_path / "bundle")) == path.name
        for name in ("manifest.sig", "model.sig"):
            assert (path / name).read_bytes() == (tmp_path / "bundle" / name).read_bytes()
        store.verify(path.name)

    def test_a_stranger_under_a_bundles_name_is_refused(self, store, first, second):
        path = store.path(store.add(first))
        shutil.rmtree(path)
        shutil.copytree(store.path(store.add(second)), path)
        with pytest.raises(BundleError, match=f"expected bundle {path.name}, found {bundle_digest(path)}"):
            store.verify(path.name)

    def test_a_guard_that_is_no_longer_enabled_is_not_imported(self, store, tmp_path, monkeypatch):
        """The load gate decides again; the store verifies bytes and imports nothing."""
        install_guard(tmp_path / "site", monkeypatch)
        guards = {"guards": [{"name": "tilt", "fallback": "stop", "max_tilt": 2.0}]}
        contract = {"runtime": make_settings().as_tree() | guards}
        golden = (GOLDEN_OBSERVATIONS, GOLDEN_ACTIONS)
        folder = make_bundle(tmp_path / "bundle", make_model(), SPEC, *golden, **contract)
        settings = SETTINGS.replace(enabled_guards=["tilt"])
        digest = store.add(run_load_gate(read_source(folder, allow_hard_links=False), settings))
        del sys.modules["tilt_guard"]
        store.set_current(digest, "x")
        assert next(store.good()).bundle_digest == digest
        assert "tilt_guard" not in sys.modules
        with pytest.raises(GateError, match="found 'tilt'"):
            run_load_gate(read_source(store.path(digest), allow_hard_links=False), SETTINGS)
        assert "tilt_guard" not in sys.modules

    def test_a_digest_that_is_not_there(self, store):
        with pytest.raises(BundleError, match=r"expected a folder of 4 files"):
            store.verify("ab" * 32)

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "store").write_bytes(b"")
        with pytest.raises(StorageError, match=r"a file exists where a folder is needed"):
            BundleStore(tmp_path / "store")


class TestServing:
    def test_the_order_is_kept_on_disk(self, store, tmp_path, first, second):
        digests = serve(store, first, second)
        assert [store.current().bundle_digest, store.previous().bundle_digest] == digests[::-1]
        store.close()
        with BundleStore(tmp_path / "store") as again:
            assert again.current().source == "models:/reach/2"
            assert again.previous().bundle_digest == digests[0]
            assert next(again.good(), None) == again.current()

    def test_going_back_makes_the_former_one_current(self, store, first, second):
        digests = serve(store, first, second)
        store.set_current(digests[0], "rollback")
        assert (store.current().bundle_digest, store.current().source) == (digests[0], "rollback")
        assert store.previous().bundle_digest == digests[1]

    def test_what_is_not_in_the_store_cannot_serve(self, store, first):
        with pytest.raises(BundleError, match=r"expected a folder of 4 files"):
            store.set_current(first.report.bundle_digest, "nowhere")
        assert store.current() is None

    def test_what_is_damaged_cannot_serve(self, store, first):
        path = store.path(store.add(first))
        os.truncate(path / "policy.onnx", 5)
        with pytest.raises(BundleError, match=r"policy.onnx: expected \d+ bytes, found 5"):
            store.set_current(path.name, "here")

    def test_a_damaged_one_is_not_the_last_good_one(self, store, first, second):
        digests = serve(store, first, second)
        os.truncate(store.path(digests[1]) / "policy.onnx", 5)
        assert next(store.good(), None).bundle_digest == digests[0]
        shutil.rmtree(store.path(digests[0]))
        assert next(store.good(), None) is None


class TestBadOnes:
    def test_the_one_before_is_current_at_once(self, store, first, second):
        digests = serve(store, first, second)
        store.mark_bad(digests[1], "3 latched stops in 10 s")
        assert store.current().bundle_digest == next(store.good(), None).bundle_digest == digests[0]
        assert store.previous() is None
        assert dict(store.bad) == {digests[1]: "3 latched stops in 10 s"}

    def test_is_never_chosen_again(self, store, tmp_path, first, second):
        digests = serve(store, first, second)
        store.mark_bad(digests[1], "it fell")
        for again in (lambda: store.set_current(digests[1], "x"), lambda: store.add(second)):
            with pytest.raises(
                BundleError, match=rf"bundle {digests[1]}: .* found it marked bad: it fell"
            ) as no:
                again()
            assert no.value.rule == "store"
        kept = json.loads((tmp_path / "store" / "current.json").read_bytes())
        assert kept["bad"] == {digests[1]: "it fell"}

    def test_may_be_marked_before_it_ever_comes(self, store, first):
        store.mark_bad(first.report.bundle_digest, "recalled")
        with pytest.raises(BundleError, match=r"marked bad: recalled"):
            store.add(first)

    def test_all_of_them_leave_none(self, store, first):
        store.mark_bad(serve(store, first)[0], "it fell")
        assert (store.current(), next(store.good(), None)) == (None, None)

    def test_is_not_the_last_good_one_even_where_the_disk_is_full(self, store, first, second, monkeypatch):
        digests = serve(store, first, second)

        def full(*_, **__):
            raise StorageError("the disk is full.")

        monkeypatch.setattr(store_module, "write_json", full)
        with pytest.raises(StorageError):
            store.mark_bad(digests[1], "it fell")
        assert store.current().bundle_digest == next(store.good(), None).bundle_digest == digests[0]

    def test_named_among_those_that_served_is_not_the_last_good_one(self, store, tmp_path, first, second):
        digests = serve(store, first, second)
        store.close()
        kept = json.loads((tmp_path / "store" / "current.json").read_bytes())
        (tmp_path / "store" / "current.json").write_text(json.dumps(kept | {"bad": {digests[1]: "recalled"}}))
        with BundleStore(tmp_path / "store") as again:
            assert next(again.good(), None).bundle_digest == digests[0]


class TestTrials:
    def test_one_that_two_processes_did_not_survive_is_bad(self, store, tmp_path, first, second):
        digests = serve(store, first, second)
        store.begin_trial(digests[1])
        store.close()
        with BundleStore(tmp_path / "store") as again:
            assert dict(again.bad) == {}
            again.begin_trial(digests[1])
        for _ in range(2):
            with BundleStore(tmp_path / "store") as again:
                assert dict(again.bad) == {digests[1]: "the process died 2 times while it was tried"}
                assert next(again.good(), None).bundle_digest == digests[0]

    @pytest.mark.parametrize("is_through", [False, True])
    def test_one_that_ended_does_not_count(self, store, tmp_path, first, is_through):
        digest = store.add(first)
        for _ in range(3):
            store.begin_trial(digest)
            store.set_current(digest, "here") if is_through else store.end_trial(digest)
        store.close()
        with BundleStore(tmp_path / "store") as again:
            assert dict(again.bad) == {}

    def test_a_store_from_before_there_were_trials_opens(self, tmp_path):
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "current.json").write_text('{"format_version": 2, "history": [], "bad": {}}')
        with BundleStore(tmp_path / "store") as store:
            assert store.current() is None


class TestPruning:
    def test_what_is_no_bundle_stays_and_does_no_harm(self, store, tmp_path, first):
        (folder := store.path(serve(store, first)[0]).parent).joinpath("notes.txt").write_text("mine")
        (folder / ".notes.tmp").write_text("half")
        (folder / ("ab" * 32)).write_text("a file where a bundle would be")
        assert store.prune(2) == ("ab" * 32,)
        store.close()
        with BundleStore(tmp_path / "store") as again:
            assert names(folder) == sorted([again.current().bundle_digest, "notes.txt"])

    @pytest.mark.parametrize("keep", [0, 2])
    def test_the_current_one_and_the_one_before_stay(self, store, first, second, third, keep):
        digests = serve(store, first, second, third)
        assert store.prune(keep) == (digests[0],)
        assert names(store.path(digests[0]).parent) == sorted(digests[1:])
        assert store.prune(keep) == ()

    def test_as_many_stay_as_are_asked_for(self, store, first, second, third):
        serve(store, first, second, third)
        assert store.prune(3) == ()

    def test_what_never_served_and_what_is_bad_goes(self, store, first, second, third):
        kept, bad = serve(store, first, second)
        store.mark_bad(bad, "it fell")
        candidate = store.add(third)
        assert store.prune(2) == tuple(sorted([bad, candidate]))
        assert names(store.path(kept).parent) == [kept]
        assert bad in store.bad


class TestOpening:
    def test_by_one_process_at_a_time(self, store, tmp_path):
        with pytest.raises(BusyError, match=r"another process has the store .*store open"):
            BundleStore(tmp_path / "store")
        assert store.current() is None

    @pytest.mark.parametrize("text", ["{}", '{"format_version": 1, "history": [], "bad": {}}', '{"x": NaN}'])
    def test_a_damaged_state_is_refused_and_not_lost(self, tmp_path, text):
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "current.json").write_text(text)
        for _ in range(2):  # a refusal also lets go of the lock
            with pytest.raises(BundleError, match=r"current.json: expected what docs/robot-store.md"):
                BundleStore(tmp_path / "store")
        assert (tmp_path / "store" / "current.json").read_text() == text

    def test_leftovers_of_a_kill_go_and_nothing_else(self, tmp_path, first, second):
        with BundleStore(tmp_path / "store") as store:
            digests = serve(store, first, second)
        before = tree(tmp_path / "store")
        bundles = tmp_path / "store" / "sha256"
        (bundles / f".{'ab' * 32}.0123.tmp").mkdir()
        (bundles / f".{'ab' * 32}.0123.tmp" / "policy.onnx").write_bytes(b"half")
        (bundles / digests[0] / ".manifest.sig.0123.tmp").write_bytes(b"half")
        (tmp_path / "store" / ".current.json.0123.tmp").write_bytes(b"half")
        with BundleStore(tmp_path / "store"):
            assert tree(tmp_path / "store") == before


@pytest.mark.acceptance
def test_a_kill_before_any_operation_on_a_file_leaves_a_store_that_serves(build, build_other, tmp_path):
    """Each of them, and each of those that opening it again makes; see store_kills.py."""
    shutil.copytree(build_other, tmp_path / "signed")
    make_key(tmp_path / "key")
    sign_bundle(tmp_path / "signed", tmp_path / "key")
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "tests/rollout/store_kills.py",
            tmp_path / "work",
            build(),
            build_other,
            tmp_path / "signed",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["faults"] == []
    assert report["kills"] > 20
    assert report["kills_while_opening"] > report["kills"]
    assert sorted(report["served"]) == ["new", "old"]
