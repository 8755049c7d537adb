"""What the source bars does not begin to act on the robot: not by itself, not after a restart, not offline."""

import threading

import pytest
from follow_fixtures import name, stopping

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.reader import open_bundle
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.errors import GateError, StoreError, StoreUnavailableError
from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout import stored_policies as stored_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.sources import PathSource, read_source
from sacpipe.rollout.stored_policies import load_starting_policy
from sacpipe.server.http_errors import UnavailableError
from sacpipe.server.prometheus import _follower_lines

GATE = FollowSettings.parse(FollowSettings.DEFAULT).gate
WHY = "rolled back at 10:00 by Ann: it shook"
pytestmark = pytest.mark.usefixtures("load_gate_here")


class Barring(PathSource):
    """A folder whose bundles an operator bars."""

    def __init__(self, path):
        super().__init__(path, allow_hard_links=False)
        self.barred = {}
        self.fault = None
        self.questions = []

    def bars(self, known):
        self.questions.append(dict(known))
        if self.fault is not None:
            raise self.fault
        return {digest: self.barred.get(digest, "") for digest in known}


class Offline(Barring):
    """The same without a network."""

    def resolve(self):
        raise StoreUnavailableError("MLflow at there does not answer.")

    def bars(self, known):
        return self.resolve()


@pytest.fixture
def source(named):
    return Barring(named)


@pytest.fixture
def digests(bundles):
    return [bundle_digest(bundle) for bundle in bundles]


@pytest.fixture
def stops(bundles, tmp_path):
    """A bundle that stops the robot as soon as it moves."""
    bundle = open_bundle(bundles[1])
    write_bundle(tmp_path / "stops", bundle.policy_onnx, stopping(bundle.contract), bundle.golden)
    return tmp_path / "stops"


@pytest.fixture
def both_served(following, named, bundles, source, digests):
    """A store in which both bundles were current, the second one last."""
    with following(source=source) as robot:
        name(bundles[1], named)
        robot.until(lambda state: state.counts.get("accepted") == 1)
        assert robot.store.held() == (digests[1], digests[0])


def in_service(robot):
    return robot.service.policy.digest


def let_it_fail(robot, bundle, named):
    """Name a bundle, and let it stop the robot in its watch phase."""
    robot.ask(sequence_id=1, sequence_start=True)
    name(bundle, named)
    robot.until(lambda state: state.phase == "watch")
    assert robot.ask(2.0, 0.0, 0.0, sequence_id=1)["parameters"]["verdict"] == "stopped"


@pytest.mark.slow
@pytest.mark.usefixtures("both_served")
def test_the_usual_rollback_a_candidate_fails_after_the_one_before_was_barred(
    following, named, source, digests, stops
):
    with following(source=source, watch_s=60.0) as robot:
        assert in_service(robot) == digests[1]
        source.barred = {digests[1]: WHY}
        let_it_fail(robot, stops, named)
        robot.until(lambda state: "rolled_back" in state.counts)
        assert in_service(robot) == digests[0]  # not the barred one, which was in service before
        assert robot.ask()["parameters"]["bundle_sha256"] == digests[0]
        robot.looked()
        assert robot.kinds == ["started", "barred", "noticed", "shadow", "watch", "rolled_back", "refused"]
        events = robot.follower.status().events
        assert (events[5].text, events[5].bundle_digest) == (
            f"it is barred: {WHY}; it acts until another bundle does",
            digests[1],
        )
        assert f"bundle {digests[0][:12]} acts now" in events[1].text


@pytest.mark.slow
@pytest.mark.usefixtures("both_served")
def test_a_bar_that_comes_in_the_watch_phase_counts(following, named, source, digests, stops):
    with following(source=source, watch_s=60.0) as robot:
        robot.ask(sequence_id=1, sequence_start=True)
        name(stops, named)
        robot.until(lambda state: state.phase == "watch")
        source.barred = {digests[1]: WHY}
        robot.until(lambda state: "barred" in state.counts)
        robot.looked()  # the reserve is loaded by now
        assert "it acts until" not in robot.follower.status().events[0].text
        robot.ask(2.0, 0.0, 0.0, sequence_id=1)
        robot.until(lambda state: "rolled_back" in state.counts)
        assert in_service(robot) == digests[0]


@pytest.mark.slow
def test_where_no_bundle_may_act_the_robot_stops_and_the_next_bundle_acts_at_once(
    following, named, source, bundles, digests, stops
):
    with following(source=source, watch_s=60.0, shadow_s=0.0) as robot:
        source.barred = {digests[0]: WHY}
        let_it_fail(robot, stops, named)
        robot.wait(lambda state: state.phase == "halted")
        robot.looked()
        found = robot.ask(sequence_id=2, sequence_start=True)
        assert found["parameters"]["verdict"] == "stopped"
        with pytest.raises(UnavailableError, match="no policy may act here now"):
            robot.ask()
        status = robot.follower.status()
        assert robot.kinds[-3:] == ["rolled_back", "halted", "refused"]
        assert 'sacpipe_follow_phase{phase="halted"} 1' in "\n".join(_follower_lines(status))
        name(bundles[1], named)
        robot.wait(lambda state: state.phase != "halted")
        robot.looked()
        assert robot.ask()["parameters"]["bundle_sha256"] == digests[1]
        assert robot.store.current().bundle_digest == digests[1]
        assert robot.kinds[-4:] == ["noticed", "recovered", "recovered", "recovered"]
        assert "in service at once: no other bundle may act" in [
            event.text for event in robot.follower.status().events[:3]
        ]


@pytest.mark.slow
def test_a_stopped_robot_acts_again_where_a_bar_is_lifted(following, named, source, digests, stops):
    with following(source=source, watch_s=60.0, retry_s=1e6) as robot:
        source.barred = {digests[0]: WHY}
        let_it_fail(robot, stops, named)
        robot.wait(lambda state: state.phase == "halted")
        robot.looked()
        source.barred = {}
        robot.wait(lambda state: state.phase != "halted")
        assert robot.ask()["parameters"]["bundle_sha256"] == digests[0]
        assert robot.follower.status().counts["allowed"] == 1


@pytest.fixture
def store_before(stops, bundles, tmp_path):
    """A store in which the bundle that stops the robot was current before the one in service."""
    with BundleStore(tmp_path / "store") as store:
        for bundle in (stops, bundles[0]):
            admitted = run_load_gate(read_source(bundle, allow_hard_links=False), GATE, p99_us=1.0)
            store.set_current(store.add(admitted), "here")


@pytest.mark.slow
@pytest.mark.usefixtures("store_before")
def test_the_bundle_that_failed_is_no_reserve_of_itself(following, named, source, digests, stops):
    with following(source=source, watch_s=60.0, retry_s=1e6) as robot:
        assert in_service(robot) == digests[0]
        source.barred = {digests[0]: WHY}
        let_it_fail(robot, stops, named)  # the operator rolls back to it
        robot.wait(lambda state: "rolled_back" in state.counts)
        robot.looked()
        assert robot.follower.status().phase == "halted"
        assert bundle_digest(stops) in robot.store.bad


@pytest.mark.slow
def test_the_bar_of_a_policy_that_the_store_never_had_as_current_counts(
    following, named, bundles, source, digests, stops
):
    with following(source=source, watch_s=60.0, retry_s=1e6) as robot:
        source.barred = {digests[0]: WHY}
        robot.until(lambda state: "barred" in state.counts)
        name(bundles[1], named)
        robot.until(lambda state: state.phase == "watch")
        robot.ask(sequence_id=1, sequence_start=True)
        name(stops, named)
        robot.until(lambda state: "withdrawn" in state.counts)  # it stays: the one before is barred
        robot.until(lambda state: state.phase == "watch")
        source.barred = dict.fromkeys(digests, WHY)
        for _ in range(2):
            robot.looked()
            assert digests[1] in robot.store.barred
        assert robot.ask(2.0, 0.0, 0.0, sequence_id=1)["parameters"]["verdict"] == "stopped"
        robot.wait(lambda state: "rolled_back" in state.counts)
        assert robot.follower.status().phase == "halted"


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["shadow", "watch"])
def test_a_bar_that_is_only_forgotten_is_not_lifted(following, named, bundles, source, digests, phase):
    waits = {"shadow": {"shadow_s": 60.0}, "watch": {"watch_s": 60.0}}[phase]
    with following(source=source, **waits) as robot:
        name(bundles[1], named)
        robot.until(lambda state: state.phase == phase)
        source.barred = {digests[1]: WHY}
        robot.until(lambda state: "withdrawn" in state.counts)
        name(bundles[0], named)
        robot.looked()
        robot.looked()
        assert dict(robot.store.barred) == {}
        assert "allowed" not in robot.follower.status().counts


@pytest.mark.slow
@pytest.mark.usefixtures("both_served")
def test_where_one_answer_bars_the_candidate_and_the_one_before_a_good_bundle_acts(
    following, named, source, digests, stops
):
    with following(source=source, watch_s=60.0, retry_s=1e6) as robot:
        robot.ask(sequence_id=1, sequence_start=True)
        name(stops, named)
        robot.until(lambda state: state.phase == "watch")
        source.barred = {digests[1]: WHY, bundle_digest(stops): WHY}
        robot.wait(lambda state: "withdrawn" in state.counts, lambda: robot.ask(sequence_id=1))
        assert "halted" not in robot.follower.status().counts
        assert in_service(robot) == digests[0]
        assert robot.ask(sequence_id=1)["parameters"]["verdict"] == "ok"


@pytest.mark.slow
def test_a_stopped_robot_takes_what_the_source_names_as_soon_as_its_bar_is_lifted(
    following, named, bundles, source, digests, stops
):
    with following(source=source, watch_s=60.0, retry_s=1e6) as robot:
        source.barred = dict.fromkeys(digests, WHY)
        let_it_fail(robot, stops, named)
        robot.wait(lambda state: state.phase == "halted")
        name(bundles[1], named)
        robot.looked()
        assert robot.follower.status().phase == "halted"
        source.barred = {digests[0]: WHY}
        robot.wait(lambda state: state.phase == "idle")
        assert in_service(robot) == digests[1]


@pytest.mark.slow
def test_a_stopped_robot_takes_what_the_source_names_whatever_the_disk_does(
    following, named, bundles, source, digests, stops
):
    with following(source=source, watch_s=60.0, retry_s=1e6) as robot:
        source.barred = {digests[0]: WHY}
        let_it_fail(robot, stops, named)
        robot.wait(lambda state: state.phase == "halted")
        robot.store.unwritable = "the disk is read-only."
        name(bundles[1], named)
        robot.wait(lambda state: state.phase == "idle")
        assert robot.ask()["parameters"]["bundle_sha256"] == digests[1]
        robot.looked()
        events = robot.follower.status().events
        assert ("failed", "the disk is read-only.") in [(event.kind, event.text) for event in events]
        assert "in service at once: no other bundle may act" in [event.text for event in events]


@pytest.mark.parametrize("fault", [None, StoreError("MLflow refuses: 400 no alias champion.", "400")])
def test_what_is_barred_in_service_acts_until_another_bundle_does(following, source, digests, fault):
    with following(source=source) as robot:
        robot.source.fault = fault  # as after `rollback --to none`: the alias names nothing
        source.barred = {digests[0]: WHY}
        robot.until(lambda state: "barred" in state.counts)
        robot.looked()
        assert robot.ask()["parameters"]["bundle_sha256"] == digests[0]
        assert robot.kinds.count("barred") == 1  # said once
        source.barred = {}
        robot.until(lambda state: "allowed" in state.counts)
        assert dict(robot.store.barred) == {}


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["shadow", "watch"])
def test_a_candidate_that_is_barred_is_withdrawn(following, named, bundles, source, digests, phase):
    waits = {"shadow": {"shadow_s": 60.0}, "watch": {"watch_s": 60.0}}[phase]
    with following(source=source, **waits) as robot:
        name(bundles[1], named)
        robot.until(lambda state: state.phase == phase)
        source.barred = {digests[1]: WHY}
        robot.until(lambda state: "refused" in state.counts)
        assert robot.kinds[-3:] == ["barred", "withdrawn", "refused"]
        assert robot.follower.status().events[1].text == f"it is barred: {WHY}"
        assert (in_service(robot), dict(robot.store.bad)) == (digests[0], {})
        source.barred = {}
        robot.until(lambda state: state.phase == phase)  # a bar that is lifted is lifted on the robot


@pytest.mark.slow
def test_a_source_that_does_not_say_what_it_bars_holds_no_rollout_up(
    following, named, bundles, source, digests
):
    with following(source=source) as robot:
        source.fault = StoreError("MLflow at there refuses: 403 not you.", "403")
        robot.looked()
        robot.looked()
        assert robot.kinds == ["started", "failed"]
        name(bundles[1], named)
        robot.until(lambda state: "accepted" in state.counts)
        source.fault = None
        robot.until(lambda state: "recovered" in state.counts)
        assert in_service(robot) == digests[1]


def test_a_source_that_does_not_answer_is_asked_nothing_more(following, source):
    with following(source=source) as robot:
        robot.source.fault = StoreUnavailableError("MLflow at there does not answer.", "refused")
        robot.looked()
        number = len(source.questions)
        robot.looked()
        assert len(source.questions) == number
        assert robot.kinds == ["started", "unreachable"]


class TestStart:
    @pytest.fixture
    def store(self, both_served, tmp_path):
        with BundleStore(tmp_path / "store") as store:
            yield store

    def start(self, source, store):
        return load_starting_policy(source, store, GATE).digest

    @pytest.mark.slow
    def test_offline_what_was_noted_counts(self, store, named, digests, capsys):
        store.note_bars({digests[1]: WHY}, digests)
        assert self.start(Offline(named), store) == digests[0]
        assert store.current().bundle_digest == digests[0]
        assert (
            "what the source bars is not known at the start, the bars count that the store has noted: MLflow"
            in (capsys.readouterr().err)
        )

    @pytest.mark.slow
    def test_what_was_barred_while_the_robot_was_off_does_not_start(self, store, source, digests, capsys):
        source.barred = {digests[1]: WHY}
        assert self.start(source, store) == digests[0]
        assert f"bundle {digests[1][:12]} of the store does not start: it is barred: {WHY}" in (
            capsys.readouterr().err
        )
        assert dict(store.barred) == source.barred
        assert source.questions[-1] == dict.fromkeys(digests, "")

    @pytest.mark.slow
    def test_what_was_allowed_while_the_robot_was_off_starts_as_the_source_names_it(
        self, store, source, digests
    ):
        store.note_bars({digests[1]: WHY, digests[0]: WHY}, digests)
        assert self.start(source, store) == digests[1]  # none of the store passed at first
        assert dict(store.barred) == {}

    @pytest.mark.slow
    def test_where_all_are_barred_nothing_starts(self, store, source, digests):
        source.barred = dict.fromkeys(digests, WHY)
        with pytest.raises(
            GateError, match="refused by the rule 'store': .*is barred: rolled back"
        ) as caught:
            self.start(source, store)
        assert caught.value.rule == "store"

    @pytest.mark.slow
    def test_an_answer_that_does_not_come_holds_no_start_up(
        self, store, source, digests, monkeypatch, capsys
    ):
        is_over = threading.Event()
        monkeypatch.setattr(stored_module, "_ANSWER_S", 0.01)
        monkeypatch.setattr(source, "bars", lambda _: is_over.wait(60) and {})
        assert self.start(source, store) == digests[1]
        assert "no answer within 0.01 s" in capsys.readouterr().err
        is_over.set()
