"""After a candidate no barred bundle acts: the robot goes to its reserve, keeps the candidate, or stops."""

import itertools
import os

import numpy as np
import pytest
from faulty_robot import Faults, Robot
from robot_fixtures import GOLDEN_ACTIONS, make_model, write_model

from sacpipe.bundle.reader import open_bundle
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.errors import BundleError, StorageError
from sacpipe.core.fence import first_error
from sacpipe.robot.load_gate import LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout import bundle_store as store_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.sources import read_source

GATE = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)
WHY = "rolled back at 10:00 by Ann: it shook"


def admit(folder):
    return run_load_gate(read_source(folder, allow_hard_links=False), GATE, p99_us=1.0)


def digest(admitted):
    return admitted.report.bundle_digest


@pytest.fixture
def folders(tmp_path):
    """Two bundles of one policy, which differ in a golden action."""
    other_actions = [GOLDEN_ACTIONS[0], [3.0, 4.0 - 8e-6], GOLDEN_ACTIONS[2]]
    return (
        write_model(tmp_path / "older", make_model(), GOLDEN_ACTIONS),
        write_model(tmp_path / "newer", make_model(), other_actions),
    )


@pytest.fixture
def older(folders):
    return admit(folders[0])


@pytest.fixture
def newer(folders):
    return admit(folders[1])


@pytest.fixture
def other(build_other):
    return admit(build_other)


@pytest.fixture
def make(folders, older, newer, tmp_path, monkeypatch):
    """A robot in whose store the older bundle was current before the newer one, which is in service."""
    numbers, opened = itertools.count(), []

    def make(faults=None, which=""):
        store = BundleStore(tmp_path / f"store-{next(numbers)}")
        opened.append(store)
        for admitted in (older, newer):
            store.set_current(store.add(admitted), "here")
        monkeypatch.undo()
        monkeypatch.setattr(os, "fsync", lambda _: None)
        return Robot(folders[1], store, faults or Faults(), monkeypatch, which)

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def robot(make):
    return make()


def bar(robot, *bundles):
    found = {digest(admitted): WHY for admitted in bundles}
    robot.store.note_bars(found, {*robot.store.held(), *found})


def watch(robot, other):
    robot.rollout.offer(other, "there")
    robot.tick()
    assert robot.rollout.phase == "watch"


def fail(robot):
    robot.runtime.causes["inference_failed"] += 1
    robot.tick()


def act(robot):
    robot.now_s += 0.02
    decision = robot.runtime.step(np.array([0.5, 0.25, 0.0], np.float32), int(robot.now_s * 1e9))
    return decision.verdict, decision.reasons


def test_a_bundle_that_was_barred_meanwhile_does_not_act_again_but_the_reserve(robot, older, newer, other):
    assert not robot.rollout.lacks_reserve()
    bar(robot, newer)
    assert robot.rollout.lacks_reserve()
    watch(robot, other)
    assert robot.rollout.lacks_reserve()
    robot.rollout.take_reserve(older.policy)
    assert not robot.rollout.lacks_reserve()
    fail(robot)
    (event,) = robot.events
    before, now = digest(newer)[:12], digest(older)[:12]
    assert (event.outcome, event.reason) == (
        "rolled_back",
        f"inference_failed: 1; bundle {now} acts now, because bundle {before} before it is barred: {WHY}",
    )
    assert (robot.rollout.phase, robot.runtime.policy) == ("idle", older.policy)
    robot.step(1)
    assert (robot.runtime.acting_policy, robot.runtime.blended_with) == (older.policy, None)


def test_the_reserve_is_kept_for_one_fallback_and_while_it_is_needed(robot, older, newer, other):
    bar(robot, newer)
    robot.rollout.take_reserve(older.policy)
    robot.store.note_bars({digest(newer): ""}, robot.store.held())  # lifted
    assert not robot.rollout.lacks_reserve()
    watch(robot, other)
    bar(robot, newer)
    assert robot.rollout.lacks_reserve()  # the one of then may be no longer the newest
    robot.rollout.take_reserve(older.policy)
    fail(robot)
    bar(robot, older)
    assert robot.rollout.lacks_reserve()


def test_where_no_bundle_may_act_the_robot_stops_until_one_may(robot, older, newer, other):
    bar(robot, newer)
    watch(robot, other)
    fail(robot)
    assert robot.rollout.phase == "halted"
    assert robot.events[0].reason == (
        f"inference_failed: 1; no policy may act, so the robot is stopped, because bundle {digest(newer)[:12]} "
        f"before it is barred: {WHY}"
    )
    assert act(robot) == ("stopped", ("no_policy",))
    robot.runtime.clear_stop()
    assert act(robot) == ("stopped", ("no_policy",))  # no operator beside the robot makes it act
    assert robot.runtime.causes["no_policy"] == 2
    robot.tick()
    assert robot.rollout.phase == "halted"
    assert robot.rollout.lacks_reserve()
    robot.rollout.take_reserve(older.policy)
    assert (robot.rollout.phase, robot.runtime.policy) == ("idle", older.policy)
    assert act(robot) == ("stopped", ("no_policy",))  # the operator beside it decides when it moves
    robot.runtime.clear_stop()
    assert act(robot) == ("ok", ())


def test_a_stopped_robot_takes_the_next_bundle_at_once(robot, newer, other, older):
    bar(robot, newer)
    watch(robot, other)
    fail(robot)
    with pytest.raises(BundleError, match="is barred: rolled back at 10:00 by Ann"):
        robot.rollout.offer(newer, "there")
    with pytest.raises(BundleError, match="marked bad: inference_failed: 1"):
        robot.rollout.offer(other, "there")
    assert robot.rollout.phase == "halted"
    assert robot.rollout.offer(older, "elsewhere") is None
    assert (robot.rollout.phase, robot.runtime.policy) == ("idle", older.policy)
    assert (robot.store.current().bundle_digest, robot.store.current().source) == (digest(older), "elsewhere")


@pytest.mark.parametrize("is_read_only", [False, True])
def test_a_stopped_robot_takes_the_next_bundle_whatever_the_disk_does(
    robot, newer, other, older, monkeypatch, is_read_only
):
    bar(robot, newer)
    watch(robot, other)
    fail(robot)

    def full(*_):
        raise StorageError("the disk is full")

    if is_read_only:
        robot.store.unwritable = "the disk is full"
    else:
        monkeypatch.setattr(store_module, "write_json", full)
    with pytest.raises(BundleError, match="is barred"):
        robot.rollout.offer(newer, "there")
    with pytest.raises(BundleError, match="marked bad"):
        robot.rollout.offer(other, "there")
    assert robot.rollout.phase == "halted"
    with pytest.raises(StorageError, match="the disk is full"):
        robot.rollout.offer(older, "there")
    assert (robot.rollout.phase, robot.runtime.policy) == ("idle", older.policy)


def test_a_candidate_that_did_not_fail_stays_where_the_one_before_is_barred(robot, newer, other):
    bar(robot, newer)
    watch(robot, other)
    event = robot.rollout.withdraw("another is named")
    assert event.reason == (
        f"another is named; it stays in service, because bundle {digest(newer)[:12]} before it is barred: {WHY}"
    )
    assert (robot.rollout.phase, robot.runtime.policy) == ("idle", other.policy)
    assert robot.store.current().bundle_digest == digest(newer)  # it did not complete its watch phase
    assert not robot.store.bad


def test_the_reserve_comes_before_a_candidate_that_did_not_fail(robot, older, newer, other):
    bar(robot, newer)
    watch(robot, other)
    robot.rollout.take_reserve(older.policy)
    robot.rollout.withdraw("another is named")
    assert robot.runtime.policy is older.policy


@pytest.mark.parametrize("has_reserve", [False, True])
def test_a_candidate_that_is_barred_too_does_not_stay(robot, older, newer, other, has_reserve):
    bar(robot, newer)
    watch(robot, other)
    if has_reserve:
        robot.rollout.take_reserve(older.policy)
    bar(robot, newer, other)
    robot.rollout.withdraw("it is barred")
    assert robot.rollout.phase == ("idle" if has_reserve else "halted")
    assert robot.runtime.policy is (older.policy if has_reserve else other.policy)
    assert act(robot)[0] == ("ok" if has_reserve else "stopped")


def test_a_barred_candidate_passes_no_phase(robot, older, newer, other):
    robot.rollout.offer(other, "there")
    bar(robot, other)
    robot.tick()
    assert (robot.rollout.phase, robot.runtime.policy.digest) == ("shadow", digest(newer))
    robot.store.note_bars({digest(other): ""}, robot.store.held())
    robot.tick()
    assert robot.rollout.phase == "watch"
    bar(robot, other)
    robot.tick()
    assert robot.rollout.phase == "watch"
    robot.rollout.withdraw("it is barred")
    assert (robot.rollout.phase, robot.runtime.policy.digest) == ("idle", digest(newer))


def test_the_digests_of_a_rollout_are_all_that_may_act(robot, older, newer, other):
    assert robot.rollout.digests() == {digest(newer)}
    bar(robot, newer)
    robot.rollout.offer(other, "there")
    assert robot.rollout.digests() == {digest(newer), digest(other)}
    robot.rollout.take_reserve(older.policy)
    robot.tick()
    assert robot.rollout.phase == "watch"
    assert robot.rollout.digests() == {digest(older), digest(newer), digest(other)}


def test_a_reserve_that_is_barred_meanwhile_does_not_act(robot, older, newer, other):
    bar(robot, newer)
    watch(robot, other)
    robot.rollout.take_reserve(older.policy)
    bar(robot, newer, older)
    fail(robot)
    assert robot.rollout.phase == "halted"


def test_a_bar_that_is_lifted_lets_the_one_before_act(robot, newer, other):
    bar(robot, newer)
    watch(robot, other)
    robot.store.note_bars({digest(newer): ""}, robot.store.held())
    fail(robot)
    assert (robot.rollout.phase, robot.runtime.policy.digest) == ("idle", digest(newer))
    assert robot.events[0].reason == "inference_failed: 1"


def test_the_reserve_is_another_bundle_than_the_candidate(robot, folders, older, newer):
    bar(robot, newer)
    robot.rollout.take_reserve(older.policy)
    assert not robot.rollout.lacks_reserve()
    assert robot.rollout.lacks_reserve(digest(older))  # it is named, so it is the next candidate
    robot.rollout.take_reserve(older.policy)
    watch(robot, admit(folders[0]))  # the same bundle, another object
    fail(robot)
    assert robot.rollout.phase == "halted"


def test_what_is_rejected_before_it_acts_leaves_the_one_in_service(robot, newer, other):
    bar(robot, newer)
    robot.rollout.offer(other, "there")
    robot.rollout.withdraw("another is named")
    assert (robot.rollout.phase, robot.runtime.policy.digest) == ("idle", digest(newer))
    assert act(robot) == ("ok", ())


def test_a_reserve_of_another_task_is_refused(robot, newer, folders, tmp_path):
    bundle = open_bundle(folders[0])
    push = bundle.contract.replace(spec=bundle.contract.spec.as_tree() | {"task": "example/Push-v0"})
    write_bundle(tmp_path / "push", bundle.policy_onnx, push, bundle.golden)
    bar(robot, newer)
    with pytest.raises(BundleError, match="reserve"):
        robot.rollout.take_reserve(OnnxPolicy(tmp_path / "push"))
    assert robot.rollout.lacks_reserve()


@pytest.mark.slow
@pytest.mark.parametrize("has_reserve", [False, True])
@pytest.mark.parametrize("is_after", [False, True])
def test_whatever_call_fails_no_barred_bundle_acts_again(make, older, newer, other, has_reserve, is_after):
    for at in itertools.count():
        faults = Faults(RuntimeError("injected"), at, is_after=is_after)
        robot = make(faults, "host")
        bar(robot, newer)
        robot.roll_out(other, ticks=0)
        swapped = False
        for _ in range(6):
            if has_reserve and robot.rollout.phase in ("watch", "halted"):
                first_error(lambda: robot.rollout.take_reserve(older.policy))  # noqa: B023 - called at once
            if robot.rollout.phase == "watch":
                robot.runtime.causes["inference_failed"] += 1
            robot.tick()
            swapped |= robot.runtime.policy is other.policy
            assert not (swapped and robot.runtime.policy.digest == digest(newer)), (at, faults.calls)
        if len(faults.calls) <= at:
            break
    assert at > 3
    assert robot.rollout.phase == ("idle" if has_reserve else "halted")
