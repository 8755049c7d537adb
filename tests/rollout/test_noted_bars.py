"""The store keeps what the source bars, lifts what the source lifts, and starts with nothing that is barred."""

import json

import pytest
from robot_fixtures import GOLDEN_ACTIONS, make_model, write_model

from sacpipe.core.errors import BundleError, StorageError
from sacpipe.robot.load_gate import LoadGateSettings, run_load_gate
from sacpipe.rollout import noted_bars as bars_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.noted_bars import NotedBars
from sacpipe.rollout.sources import read_source

GATE = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)
WHY = "rolled back at 10:00 by Ann: it shook"
FIRST, SECOND = "a" * 64, "b" * 64


@pytest.fixture
def file(tmp_path):
    return tmp_path / "store" / "barred.json"


@pytest.fixture
def digests(tmp_path, file):
    """Of a store in which four bundles of one policy were current, the oldest first."""
    with BundleStore(file.parent) as store:
        found = []
        for number in range(4):
            actions = [GOLDEN_ACTIONS[0], [3.0, 4.0 - number * 2e-6], GOLDEN_ACTIONS[2]]
            folder = write_model(tmp_path / f"bundle-{number}", make_model(), actions)
            admitted = run_load_gate(read_source(folder, allow_hard_links=False), GATE, p99_us=1.0)
            found.append(store.add(admitted))
            store.set_current(found[-1], f"models:/reach/{number}")
    return found


def good(store):
    return [one.bundle_digest for one in store.good()]


def test_a_bar_holds_after_a_restart_and_until_it_is_lifted(file, digests):
    with BundleStore(file.parent) as store:
        store.note_bars({digests[3]: WHY}, digests)
        assert good(store) == digests[2::-1]
    assert json.loads(file.read_text()) == {"format_version": 1, "barred": {digests[3]: WHY}}
    with BundleStore(file.parent) as store:
        assert (dict(store.barred), store.notices, good(store)) == ({digests[3]: WHY}, (), digests[2::-1])
        assert store.current().bundle_digest == digests[3]  # what runs may go on
        store.note_bars({}, digests)  # a source that does not know the bundle lifts no bar
        assert dict(store.barred) == {digests[3]: WHY}
        store.note_bars({digests[3]: ""}, digests)
    with BundleStore(file.parent) as store:
        assert (dict(store.barred), good(store)) == ({}, digests[::-1])


def test_the_robots_own_experience_is_not_lifted(file, digests):
    with BundleStore(file.parent) as store:
        store.mark_bad(digests[3], "it fell")
        store.note_bars({digests[3]: WHY}, digests)
        store.note_bars({digests[3]: ""}, digests)
        assert (dict(store.bad), good(store)) == ({digests[3]: "it fell"}, digests[2::-1])


def test_a_bar_of_a_bundle_that_is_not_here_is_dropped(file, digests):
    with BundleStore(file.parent) as store:
        store.note_bars({digests[0]: WHY, digests[1]: WHY}, digests)
        assert set(store.barred) == set(digests[:2])
        store.note_bars({}, digests[1:])
        assert set(store.barred) == {digests[1]}


def test_barred_bundles_take_no_place_of_those_to_fall_back_to(file, digests):
    with BundleStore(file.parent) as store:
        store.note_bars({digests[2]: WHY, digests[1]: WHY}, digests)
        assert store.prune(2) == (digests[1],)  # the current one and the one before it always stay
        assert list(store.held()) == [digests[3], digests[2], digests[0]]
        assert good(store) == [digests[3], digests[0]]


def test_a_store_that_cannot_be_written_knows_the_bar_until_it_ends_and_tries_again(
    file, digests, monkeypatch
):
    def full(*_):
        raise StorageError("the disk is full")

    with BundleStore(file.parent) as store:
        with monkeypatch.context() as patch:
            patch.setattr(bars_module, "write_json", full)
            for _ in range(2):
                with pytest.raises(StorageError):
                    store.note_bars({digests[3]: WHY}, digests)
        assert good(store) == digests[2::-1]
        assert not file.exists()
        store.note_bars({digests[3]: WHY}, digests)
    assert json.loads(file.read_text())["barred"] == {digests[3]: WHY}


def test_an_answer_that_changes_nothing_writes_nothing(file, digests, monkeypatch):
    with BundleStore(file.parent) as store:
        store.note_bars(dict.fromkeys(digests, ""), digests)
        store.note_bars({digests[3]: WHY}, digests)
        monkeypatch.setattr(bars_module, "write_json", lambda *_: 1 / 0)
        store.note_bars({digests[3]: WHY, digests[2]: ""}, digests)


@pytest.mark.parametrize("data", [b"", b"\0\0", b'{"format_version": 1, "barr', b"[]"])
def test_a_torn_file_is_reported_and_the_source_is_asked_again(file, digests, data):
    file.write_bytes(data)
    with BundleStore(file.parent) as store:
        assert store.notices == (f"{file} was empty or torn. The source is asked again for what is barred.",)
        assert good(store) == digests[::-1]
        store.note_bars({digests[3]: WHY}, digests)
    with BundleStore(file.parent) as store:
        assert store.notices == ()
        assert store.barred


@pytest.mark.parametrize(
    "tree", [{"format_version": 2, "barred": {}}, {"format_version": 1}, {"barred": {"x": ""}}]
)
def test_a_file_of_another_version_is_refused_and_kept(file, digests, tree):
    file.write_text(json.dumps(tree))
    with pytest.raises(
        BundleError, match=r"expected what docs/robot-store.md describes, found .*Move the file away"
    ):
        BundleStore(file.parent)
    assert json.loads(file.read_text()) == tree
    file.unlink()
    BundleStore(file.parent).close()  # the refusal released the lock


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("two\nlines\x1b[2J", "two lines\\x1b[2J"),
        ("x" * 1000, "x" * 300),
        ("\ud800 half", "\\ud800 half"),
        (" \n", "without a reason"),
    ],
)
def test_the_text_of_a_registry_is_one_short_line_that_the_file_can_hold(tmp_path, text, kept):
    bars = NotedBars(tmp_path / "barred.json")
    bars.note({FIRST: text, SECOND: WHY}, {FIRST})
    bars.write()
    assert NotedBars(tmp_path / "barred.json").barred == bars.barred == {FIRST: kept}
