"""A new bundle becomes current only after both phases, and is never used again after it failed."""

import json

import numpy as np
import pytest
from bundle_factories import make_runtime

from sacpipe.core.errors import BundleError, StorageError
from sacpipe.robot.guard_chain import GuardChain
from sacpipe.robot.load_gate import LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.rollout import bundle_store as store_module
from sacpipe.rollout import phases as phases_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import RolloutSettings
from sacpipe.rollout.rollout import Rollout
from sacpipe.rollout.sources import read_source

GATE = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)
SETTINGS = RolloutSettings(
    shadow_s=10.0, min_shadow_steps=5, max_divergence=1.0, watch_s=60.0, max_deadline_misses=2
)


class Robot:
    """A runtime with a rollout around it, and a clock that a test moves."""

    def __init__(self, folder, store, **settings):
        self.now_s = 1000.0
        patient = {"name": "deadline_missed", "fallback": "last", "deadline_periods": 1e6}
        settings_here = make_runtime(max_last_steps=5, guards=[patient])
        self.runtime = Runtime(
            OnnxPolicy(folder), settings=settings_here, clock_ns=lambda: int(self.now_s * 1e9)
        )
        self.store = store
        self.rollout = Rollout(self.runtime, store, SETTINGS.replace(**settings), clock_s=lambda: self.now_s)

    def step(self, count=1):
        for _ in range(count):
            self.now_s += 0.02
            decision = self.runtime.step(np.array([0.5, 0.25, 0.0], np.float32), int(self.now_s * 1e9))
        return decision

    def compared(self, steps):
        """Until the shadow, which has a thread of its own, has seen so many steps."""
        while self.rollout.divergence().steps < steps:
            pass

    def let_it_act(self, admitted):
        self.rollout.offer(admitted, "there")
        self.step(5)
        self.compared(5)
        self.now_s += 10.0
        assert self.rollout.tick() is None
        assert self.rollout.phase == "watch"


@pytest.fixture
def store(tmp_path):
    with BundleStore(tmp_path / "store") as store:
        yield store


@pytest.fixture
def first(build, store):
    """The bundle that serves from the beginning."""
    admitted = run_load_gate(read_source(build(), allow_hard_links=False), GATE)
    store.set_current(store.add(admitted), "here")
    return admitted


@pytest.fixture
def other(build_other):
    return run_load_gate(read_source(build_other, allow_hard_links=False), GATE)


@pytest.fixture
def robot(build, store, first):
    robot = Robot(build(), store)
    yield robot
    robot.rollout.close()


def digest(admitted):
    return admitted.report.bundle_digest


def test_a_shadow_acts_only_after_time_and_steps(robot, other):
    assert robot.rollout.offer(other, "there") is None
    assert robot.step(4).action.tolist() == [1.25, 2.5]
    robot.compared(4)
    robot.now_s += 100.0
    assert robot.rollout.tick() is None
    assert robot.rollout.phase == "shadow"  # time enough, but one step too few
    robot.step()
    robot.compared(5)
    assert robot.rollout.tick() is None
    assert robot.rollout.phase == "watch"
    assert robot.step().action.tolist() == [-1.25, -2.5]


def test_it_serves_after_the_watch_and_what_it_showed_is_kept(robot, first, other, tmp_path):
    robot.let_it_act(other)
    robot.step(5)
    robot.compared(5)
    robot.now_s += 59.0
    assert robot.rollout.tick() is None
    assert robot.store.current().bundle_digest == digest(first)  # what a robot begins with, killed now
    robot.now_s += 1.0
    event = robot.rollout.tick()
    assert (event.outcome, event.bundle_digest, event.source) == ("accepted", digest(other), "there")
    assert event.divergence.steps == 5
    evidence = json.loads((tmp_path / "store" / "evidence" / f"{digest(other)}.json").read_text())
    assert evidence == event.as_tree() | {"format_version": 2, "ended_unix_s": evidence["ended_unix_s"]}
    assert robot.rollout.phase == "idle"
    assert robot.store.current().bundle_digest == digest(other)


def test_one_that_is_too_far_off_is_rejected_and_never_taken_again(build, store, first, other):
    robot = Robot(build(), store, max_divergence=0.5)
    robot.rollout.offer(other, "there")
    robot.step(5)
    robot.compared(5)
    robot.now_s += 10.0
    event = robot.rollout.tick()
    assert event.outcome == "rejected"
    assert "within 0.625 of those in service" in event.reason
    assert robot.step().action.tolist() == [1.25, 2.5]
    assert robot.store.current().bundle_digest == digest(first)
    with pytest.raises(BundleError, match=r"within 0\.625"):
        robot.rollout.offer(other, "there")


def test_one_whose_actions_would_be_refused_is_rejected_at_once(robot, other, monkeypatch):
    monkeypatch.setattr(other.policy, "run", lambda _: np.array([np.nan, 0.0], np.float32))
    robot.rollout.offer(other, "there")
    robot.step()
    robot.compared(1)
    event = robot.rollout.tick()
    assert (event.outcome, event.reason) == ("rejected", "1 of its actions would have been refused")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ([np.nan, 0.0], "action_not_finite: 1; the robot was stopped"),
        ([9.0, 0.0], "action_outside_bounds: 1; the robot was stopped"),
    ],
)
def test_one_that_fails_in_service_goes_back_and_the_stop_stays(
    robot, first, other, monkeypatch, fault, reason
):
    robot.let_it_act(other)
    robot.step()
    monkeypatch.setattr(other.policy, "run", lambda _: np.array(fault, np.float32))
    assert robot.step().verdict == "stopped"
    event = robot.rollout.tick()
    assert (event.outcome, event.reason) == ("rolled_back", reason)
    assert robot.store.current().bundle_digest == digest(first)
    assert robot.store.bad[digest(other)] == reason
    assert robot.step().verdict == "stopped"
    robot.runtime.clear_stop()
    assert robot.step().action.tolist() == [1.25, 2.5]


def test_one_whose_step_fails_unforeseen_goes_back(robot, first, other, monkeypatch):
    robot.let_it_act(other)
    with monkeypatch.context() as broken:
        broken.setattr(GuardChain, "check_action", lambda *_: 1 / 0)
        assert robot.step().reasons == ("inference_failed",)
    event = robot.rollout.tick()
    assert (event.outcome, event.reason) == ("rolled_back", "inference_failed: 1; the robot was stopped")
    assert robot.runtime.policy.digest == digest(first)


def test_one_that_comes_late_too_often_goes_back(robot, other):
    robot.let_it_act(other)
    robot.runtime.causes["deadline_missed"] += 2
    assert robot.rollout.tick() is None
    robot.runtime.causes["deadline_missed"] += 1
    event = robot.rollout.tick()
    assert (event.outcome, event.reason) == ("rolled_back", "deadline_missed: 3, expected at most 2")
    assert robot.step().action.tolist() == [1.25, 2.5]


def test_what_was_counted_before_the_swap_does_not_count(robot, other):
    robot.runtime.causes["deadline_missed"] += 100
    robot.let_it_act(other)
    robot.step(5)
    robot.compared(5)
    robot.now_s += 60.0
    assert robot.rollout.tick().outcome == "accepted"


def test_a_stop_latched_before_the_swap_is_not_the_new_ones_fault(robot, other):
    robot.rollout.offer(other, "there")
    robot.step(5)
    robot.compared(5)
    for _ in range(6):  # five times the last action, then a stop
        robot.runtime.step(np.full(3, np.nan, np.float32), int(robot.now_s * 1e9))
    assert robot.runtime.is_stopped
    robot.now_s += 10.0
    robot.rollout.tick()
    assert robot.step().verdict == "stopped"
    robot.now_s += 60.0
    assert robot.rollout.tick() is None  # a robot that stands still proves nothing
    robot.runtime.clear_stop()
    robot.step(5)
    robot.compared(5)
    assert robot.rollout.tick().outcome == "accepted"


def test_one_that_goes_too_far_off_in_service_goes_back(build, store, first, other, monkeypatch):
    robot = Robot(build(), store, max_divergence=0.5)
    acts, run = [1.25, 2.5], other.policy.run
    monkeypatch.setattr(other.policy, "run", lambda _: np.array(acts, np.float32))
    before = robot.runtime.policy
    robot.let_it_act(other)
    compared = robot.rollout._phase.shadow._candidate  # by another thread than blends the one before out
    assert (compared.digest, compared._tensors is before._tensors) == (before.digest, False)
    monkeypatch.setattr(other.policy, "run", run)
    robot.step(4)
    robot.compared(4)
    assert robot.rollout.tick() is None  # too few to say
    robot.step()
    robot.compared(5)
    event = robot.rollout.tick()
    assert event.outcome == "rolled_back"
    assert "within 0.625 of those of the previous policy" in event.reason
    assert robot.step().action.tolist() == [1.25, 2.5]


@pytest.mark.parametrize("is_watched", [False, True])
def test_what_is_withdrawn_goes_at_once_and_is_not_bad(robot, first, other, is_watched):
    if is_watched:
        robot.let_it_act(other)
        assert robot.step().action.tolist() == [-1.25, -2.5]
    else:
        robot.rollout.offer(other, "there")
    assert robot.rollout.withdraw("the operator says so").outcome == "withdrawn"
    assert (robot.rollout.phase, dict(robot.store.bad)) == ("idle", {})
    assert robot.step().action.tolist() == [1.25, 2.5]
    assert robot.rollout.withdraw("again") is None
    assert robot.rollout.offer(other, "there") is None


def test_a_full_disk_does_not_keep_a_robot_from_going_back(robot, first, other, monkeypatch):
    robot.let_it_act(other)
    robot.runtime.causes["inference_failed"] += 1

    def full(*_, **__):
        raise StorageError("the disk is full.")

    monkeypatch.setattr(store_module, "write_json", full)
    event = robot.rollout.tick()
    assert (event.outcome, robot.rollout.phase) == ("rolled_back", "idle")
    assert "not written to the store, so a restart forgets it" in event.reason
    assert robot.step().action.tolist() == [1.25, 2.5]
    with pytest.raises(BundleError, match="marked bad"):
        robot.rollout.offer(other, "there")


def test_a_newer_offer_replaces_one_that_is_not_through(robot, first, other):
    robot.rollout.offer(other, "there")
    event = robot.rollout.offer(other, "elsewhere")
    assert (event.outcome, event.source) == ("replaced", "there")
    assert robot.rollout.phase == "shadow"


def test_while_one_is_watched_no_other_is_taken(robot, first, other):
    robot.let_it_act(other)
    with pytest.raises(BundleError, match="still watched; offer this one again in 60 s"):
        robot.rollout.offer(first, "here")


def on_trial(robot):
    return dict(robot.store._state.on_trial)


@pytest.mark.parametrize("end", ["withdrawn", "rolled back", "accepted", "closed"])
def test_one_is_on_trial_from_its_first_step_to_its_end(robot, other, end):
    robot.let_it_act(other)
    assert on_trial(robot) == {digest(other): 1}
    if end == "withdrawn":
        robot.rollout.withdraw("")
    elif end == "closed":
        robot.rollout.close()
    else:
        robot.step(5)
        robot.compared(5)
        robot.now_s += 60.0
        robot.runtime.causes["inference_failed"] += end == "rolled back"
        robot.rollout.tick()
    assert on_trial(robot) == {}


def no_thread(*_):
    raise RuntimeError("can't start new thread")


def test_one_that_cannot_be_compared_is_not_in_rollout(robot, other, monkeypatch):
    monkeypatch.setattr(phases_module, "Shadow", no_thread)
    with pytest.raises(RuntimeError):
        robot.rollout.offer(other, "there")
    assert (robot.rollout.phase, robot.rollout.candidate, on_trial(robot)) == ("idle", None, {})


def test_one_that_cannot_be_watched_does_not_act(robot, first, other, monkeypatch):
    robot.rollout.offer(other, "there")
    robot.step(5)
    robot.compared(5)
    robot.now_s += 10.0
    monkeypatch.setattr(phases_module, "Shadow", no_thread)
    event = robot.rollout.tick()
    assert (event.outcome, event.reason) == ("withdrawn", "it cannot be watched: can't start new thread")
    assert (robot.rollout.phase, robot.rollout.candidate, robot.runtime.policy.digest) == (
        "idle",
        None,
        digest(first),
    )


def test_where_the_policy_in_service_cannot_be_cloned_the_shadow_goes_on(robot, other, monkeypatch):
    robot.rollout.offer(other, "there")
    robot.step(5)
    robot.compared(5)
    robot.now_s += 10.0
    with monkeypatch.context() as patch:
        patch.setattr(OnnxPolicy, "clone_session", no_thread)
        with pytest.raises(RuntimeError):
            robot.rollout.tick()
    assert robot.rollout.phase == "shadow"
    assert robot.rollout.tick() is None
    assert robot.rollout.phase == "watch"
