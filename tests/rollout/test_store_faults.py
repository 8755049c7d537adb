"""What the store writes, and what it leaves and says where a write fails, to the letter."""

import errno
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from sacpipe.core.errors import BundleError, StorageError
from sacpipe.robot.load_gate import DEFAULT_GATE, run_load_gate
from sacpipe.rollout import bundle_store as store_module
from sacpipe.rollout import stored_files
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.sources import read_source

TEMPORARY = r"\.[0-9a-f]{64}\.[0-9a-f]{8}\.tmp"
FULL = "the disk is full; free some space and run the command again. Existing files are unchanged."
LOST = (
    "Lost: bundles marked bad by hand, and bundles that were current without a rollout here; those come from "
    "the source again. The torn file is kept as current.torn.json; docs/robot-store.md."
)


@pytest.fixture
def admitted(bundles):
    return [
        run_load_gate(read_source(bundle, allow_hard_links=False), DEFAULT_GATE, p99_us=1.0)
        for bundle in bundles
    ]


@pytest.fixture
def digests(admitted):
    return [one.report.bundle_digest for one in admitted]


@pytest.fixture
def folder(tmp_path, admitted):
    """A store in which both bundles were current, the second one last."""
    with BundleStore(tmp_path / "store") as store:
        for number, one in enumerate(admitted, 1):
            store.set_current(store.add(one), f"models:/reach/{number}")
    return tmp_path / "store"


@pytest.fixture
def store(folder):
    with BundleStore(folder) as opened:
        yield opened


def fail(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def state(folder: Path) -> dict:
    return json.loads((folder / "current.json").read_bytes())


class TestWhatIsWritten:
    def test_the_files_of_a_store(self, store, folder, digests):
        store.keep_evidence(digests[0], {"outcome": "accepted"})
        assert names(folder) == ["current.json", "evidence", "lock", "sha256"]
        assert state(folder) == {
            "format_version": 2,
            "history": [
                {"bundle_digest": digests[1], "source": "models:/reach/2"},
                {"bundle_digest": digests[0], "source": "models:/reach/1"},
            ],
            "bad": {},
            "on_trial": {},
        }

    def test_the_source_of_a_bundle_that_was_current(self, store, digests):
        assert [store.source_of(digest) for digest in digests] == ["models:/reach/1", "models:/reach/2"]
        assert store.source_of("ab" * 32) == ""

    def test_a_bad_bundle_is_no_longer_on_trial_and_others_are(self, store, folder, digests):
        for digest in digests:
            store.begin_trial(digest)
        store.mark_bad(digests[1], "it fell")
        assert state(folder)["on_trial"] == {digests[0]: 1}

    def test_pruned_bundles_are_no_longer_named(self, store, folder, digests, build, admitted):
        files = read_source(
            build(actions=[[1.25, 2.5], [3.0, 4.0 - 8e-6], [-2.0, -4.0]]), allow_hard_links=False
        )
        third = store.add(run_load_gate(files, DEFAULT_GATE, p99_us=1.0))
        store.set_current(third, "x")
        assert store.prune(2) == (digests[0],)
        assert [item["bundle_digest"] for item in state(folder)["history"]] == [third, digests[1]]

    def test_the_evidence_of_a_bundle_in_whose_trials_processes_died(self, folder, digests):
        with BundleStore(folder) as store:
            for _ in range(2):
                store.begin_trial(digests[1])
        before_s = time.time()
        BundleStore(folder).close()
        found = json.loads((folder / "evidence" / f"{digests[1]}.json").read_bytes())
        assert before_s <= found.pop("ended_unix_s") <= time.time()
        assert found == {
            "format_version": 2,
            "bundle_digest": digests[1],
            "source": "models:/reach/2",
            "outcome": "rejected",
            "reason": "the process died 2 times while it was tried",
            "divergence": None,
        }


class TestRefusals:
    def test_a_bad_bundle(self, store, digests):
        store.mark_bad(digests[0], "it fell")
        with pytest.raises(BundleError) as refusal:
            store.set_current(digests[0], "x")
        assert str(refusal.value) == (
            f"bundle {digests[0]}: expected one that may be used, found it marked bad: it fell. Export another one."
        )

    def test_a_bundle_under_the_digest_of_another(self, store, folder, digests):
        shutil.rmtree(store.path(digests[0]))
        shutil.copytree(store.path(digests[1]), store.path(digests[0]))
        with pytest.raises(BundleError) as refusal:
            store.verify(digests[0])
        assert refusal.value.rule == "store"
        assert str(refusal.value) == (
            f"{folder}/sha256/{digests[0]}: expected bundle {digests[0]}, found {digests[1]}. Add the bundle again."
        )

    @pytest.mark.parametrize("name", ["store", "sha256"])
    def test_either_folder_that_cannot_be_written(self, folder, name, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != name)
        with BundleStore(folder) as store:
            fault = f"cannot write {folder}: permission is missing or the disk is read-only."
            assert store.unwritable == fault
            assert store.notices == (
                f"the store is only read: {fault} Rollouts are refused until a restart can write it.",
            )


class TestFailedWrites:
    """Each message names the place, and no unfinished bundle has a digest as its name."""

    def test_the_folder_of_a_new_store(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError) as fault:
            BundleStore(tmp_path / "file")
        assert str(fault.value).startswith(f"cannot write {tmp_path / 'file'}: a file exists")

    def test_removing_leftovers_at_the_opening(self, folder, monkeypatch):
        (folder / "sha256" / ".half.tmp").mkdir()
        monkeypatch.setattr(shutil, "rmtree", fail)
        with BundleStore(folder) as store:
            assert store.unwritable == f"cannot write {folder}: {FULL}"

    def test_a_file_of_a_new_bundle(self, tmp_path, admitted, monkeypatch):
        written = []

        def write_two(path, data):
            written.append(path)
            if len(written) == 2:
                fail()
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

        monkeypatch.setattr(store_module, "write_bytes", write_two)
        with BundleStore(tmp_path / "store") as store:
            with pytest.raises(OSError, match="No space left"):
                store.add(admitted[0])
            assert written[0].name != written[1].name
            assert written[0].parent == written[1].parent
            assert re.fullmatch(TEMPORARY, written[0].parent.name)
            assert written[0].parent.name[1:65] == admitted[0].report.bundle_digest
            assert names(tmp_path / "store" / "sha256") == []

    def test_the_name_of_a_new_bundle(self, tmp_path, admitted, digests, monkeypatch):
        with BundleStore(tmp_path / "store") as store:
            monkeypatch.setattr(store_module, "sync_folder", fail)
            with pytest.raises(StorageError) as fault:
                store.add(admitted[0])
        assert str(fault.value) == f"cannot write {tmp_path}/store/sha256/{digests[0]}: {FULL}"

    def test_the_repair_of_a_bundle(self, store, admitted, digests, monkeypatch):
        monkeypatch.setattr(stored_files, "sync_folder", fail)
        with pytest.raises(StorageError) as fault:
            store.add(admitted[0])
        assert str(fault.value) == f"cannot write {store.path(digests[0])}: {FULL}"

    def test_the_removal_of_an_old_bundle(self, store, folder, digests, monkeypatch):
        store.mark_bad(digests[0], "it fell")
        monkeypatch.setattr(store_module, "remove", fail)
        with pytest.raises(StorageError) as fault:
            store.prune(2)
        assert str(fault.value) == f"cannot write {folder}/sha256: {FULL}"
        half, whole = names(folder / "sha256")
        assert whole == digests[1]
        assert re.fullmatch(TEMPORARY, half)
        assert half[1:65] == digests[0]


class TestNotices:
    """The operator reads all that was found at the opening, in its order."""

    @pytest.fixture
    def torn(self, folder):
        (folder / "current.json").write_bytes(b"")
        return f"{folder}/current.json was empty or torn. By the evidence 0 accepted, 0 bad. {LOST}"

    def test_a_torn_state_of_a_store_that_is_only_read(self, folder, torn, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *_: False)
        with BundleStore(folder) as store:
            only_read, recovered = store.notices
        assert only_read.startswith("the store is only read: cannot write")
        assert recovered == torn

    def test_a_recovered_state_that_cannot_be_written(self, folder, torn, monkeypatch):
        def full(*_):
            raise StorageError("the disk is full.")

        monkeypatch.setattr(store_module, "write_json", full)
        with BundleStore(folder) as store:
            assert store.notices == (torn, "the recovered state was not written: the disk is full.")

    def test_a_bundle_on_trial_in_a_store_that_is_only_read(self, folder, digests, monkeypatch):
        with BundleStore(folder) as store:
            for _ in range(2):
                store.begin_trial(digests[1])
        monkeypatch.setattr(os, "access", lambda *_: False)
        with BundleStore(folder) as store:
            only_read, bad = store.notices
            assert store.current().bundle_digest == digests[0]
        assert only_read.startswith("the store is only read: cannot write")
        assert bad == (
            f"bundle {digests[1][:12]} is bad: the process died 2 times while it was tried; not written to the "
            f"store: cannot write {folder}: permission is missing or the disk is read-only."
        )
