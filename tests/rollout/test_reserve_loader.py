"""A reserve that cannot be loaded is reported once, and its load gates are tried less and less often."""

import pytest
from follow_fixtures import name
from robot_fixtures import GOLDEN_ACTIONS, make_model, write_model

from sacpipe.core.errors import GateError, StorageError
from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout import reserve_loader as loader_module
from sacpipe.rollout import stored_policies as stored_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.reserve_loader import ReserveLoader
from sacpipe.rollout.sources import PathSource, read_source

SETTINGS = FollowSettings.parse(FollowSettings.DEFAULT | {"retry_s": 10.0})
WHY = "rolled back at 10:00 by Ann: it shook"


class Gate:
    """A load gate that refuses, and counts."""

    def __init__(self):
        self.tries, self.is_refusing = 0, True

    def run(self, files, settings):
        self.tries += 1
        if self.is_refusing:
            raise GateError("not on this machine.", "golden")
        return run_load_gate(files, settings, p99_us=1.0)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    monkeypatch.setattr(stored_module, "run_load_gate_in_child", gate.run)
    return gate


@pytest.fixture
def store(tmp_path):
    folder = write_model(tmp_path / "bundle", make_model(), GOLDEN_ACTIONS)
    with BundleStore(tmp_path / "own-store") as store:
        files = read_source(folder, allow_hard_links=False)
        store.set_current(store.add(run_load_gate(files, SETTINGS.gate, p99_us=1.0)), "here")
        yield store


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(loader_module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def loader(store, gate, clock):
    return ReserveLoader(store, SETTINGS, lambda _: None)


def fail(loader, without=""):
    with pytest.raises(StorageError, match="there is no reserve"):
        loader.load(without)


def test_each_try_that_finds_none_doubles_the_pause(loader, gate, clock):
    pauses = []
    for _ in range(7):
        fail(loader)
        tries, since_s = gate.tries, clock[0]
        while gate.tries == tries:
            clock[0] += 10.0
            fail(loader)
        pauses.append(clock[0] - since_s)
    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 160.0, 160.0]


def test_a_change_is_tried_at_once(loader, store, gate):
    (digest,) = store.held()
    fail(loader)
    fail(loader)
    assert gate.tries == 1
    fail(loader, digest)  # passed over, without its load gate
    fail(loader)
    assert gate.tries == 2
    store.note_bars({digest: WHY}, [digest])
    fail(loader)
    assert gate.tries == 2
    gate.is_refusing = False
    store.note_bars({digest: ""}, [digest])
    assert loader.load("").digest == digest


class Barring(PathSource):
    barred = frozenset()

    def bars(self, known):
        return {digest: WHY if digest in self.barred else "" for digest in known}


@pytest.mark.slow
def test_a_follower_without_a_reserve_says_so_once(following, named, bundles, load_gate_here, monkeypatch):
    source = Barring(named, allow_hard_links=False)
    with following(source=source, retry_s=0.001) as robot:
        name(bundles[1], named)
        robot.until(lambda state: state.counts.get("accepted") == 1)
        gate = Gate()
        monkeypatch.setattr(stored_module, "run_load_gate_in_child", gate.run)
        source.barred = {robot.service.policy.digest}
        robot.wait(lambda _: gate.tries > 2)
        assert robot.kinds[-2:] == ["barred", "failed"]
        assert "there is no reserve: no bundle of the store" in robot.follower.status().events[0].text
        source.barred = frozenset()
        robot.wait(lambda state: "recovered" in state.counts)
        assert robot.kinds[-4:] == ["barred", "failed", "allowed", "recovered"]
