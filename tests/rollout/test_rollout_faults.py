"""Whatever fails at whatever call of a rollout, it ends in a phase with one policy active, and says so."""

import itertools
import os
import resource
import signal
import time

import numpy as np
import pytest
from faulty_robot import Faults, Robot

from sacpipe.core.errors import BundleError, StorageError
from sacpipe.robot.load_gate import LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.shadow import Shadow
from sacpipe.rollout import context as context_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import RolloutSettings
from sacpipe.rollout.sources import read_source

GATE = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)
SETTINGS = RolloutSettings(
    shadow_s=10.0, min_shadow_steps=5, max_divergence=1.0, watch_s=60.0, max_deadline_misses=2
)


@pytest.fixture
def make(build, tmp_path, monkeypatch):
    numbers, opened = itertools.count(), []
    folder = build()
    admitted = run_load_gate(read_source(folder, allow_hard_links=False), GATE)

    def make(faults, which):
        store = BundleStore(tmp_path / f"store-{next(numbers)}")
        opened.append(store)
        store.set_current(store.add(admitted), "here")
        monkeypatch.undo()
        monkeypatch.setattr(os, "fsync", lambda _: None)
        return Robot(folder, store, faults, monkeypatch, which)

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def first(build):
    return OnnxPolicy(build()).digest


@pytest.fixture
def other(build_other):
    return run_load_gate(read_source(build_other, allow_hard_links=False), GATE)


def check_end(robot, first, other, *, shown):
    """One policy is active, the one that the outcome names; the error was raised or is in the event."""
    digest = other.report.bundle_digest
    assert robot.rollout.phase == "idle"
    outcomes = [event.outcome for event in robot.events]
    assert len(outcomes) <= 1
    expected = digest if outcomes == ["accepted"] else first
    assert robot.runtime.policy.digest == expected
    robot.step(2)
    assert robot.runtime.acting_policy.digest == expected
    assert robot.store.current().bundle_digest == expected
    assert any(shown in str(error) for error in robot.errors) or any(
        shown in event.reason for event in robot.events
    )
    has_failed = outcomes == ["rolled_back"]
    assert set(robot.store.bad) <= ({digest} if has_failed else set())
    assert (robot.rollout.refusal(digest) is not None) == has_failed


def fail_in_service(robot, other, monkeypatch):
    """Let the candidate fail as soon as it acts."""
    monkeypatch.setattr(
        other.policy,
        "run",
        lambda _, run=other.policy.run: (
            run(_) if robot.runtime.acting_policy is not other.policy else np.full(2, np.nan, np.float32)
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("which", ["host", "store", "shadow"])
@pytest.mark.parametrize(
    "case",
    [
        (error("injected"), is_failing, is_after)
        for error, is_failing in ((StorageError, False), (KeyError, False), (MemoryError, True))
        for is_after in (False, True)
    ],
    ids=lambda case: (
        f"{type(case[0]).__name__}-{'failing' if case[1] else 'good'}-{'after' if case[2] else 'before'}"
    ),
)
def test_an_error_at_any_call_ends_with_one_policy_active(make, first, other, monkeypatch, case, which):
    error, is_failing, is_after = case
    for at in itertools.count():
        faults = Faults(error, at, is_after=is_after)
        robot = make(faults, which)
        if is_failing:
            fail_in_service(robot, other, monkeypatch)
        robot.roll_out(other)
        if len(faults.calls) <= at:
            break
        where = f"call {at}, {faults.calls[at]}"
        try:
            check_end(robot, first, other, shown="injected")
        except AssertionError as exc:
            raise AssertionError(f"{where}: {robot.errors}, {robot.events}, {robot.rollout.phase}") from exc
    assert at > 3


@pytest.mark.slow
@pytest.mark.parametrize("error", [StorageError("injected"), RuntimeError("injected")], ids=["full", "other"])
@pytest.mark.parametrize("which", ["host", "store", "shadow"])
def test_an_error_at_every_call_from_one_on_ends_after_it_is_gone(make, first, other, which, error):
    for at in itertools.count():
        faults = Faults(error, at, is_lasting=True)
        robot = make(faults, which)
        robot.roll_out(other, ticks=5)
        if len(faults.calls) <= at:
            break
        if which != "host":  # the host alone can keep the candidate active
            assert robot.runtime.policy.digest == first or robot.rollout.phase == "idle", at
        assert robot.rollout.phase in ("idle", "shadow", "rollback"), at
        faults.heal()
        for _ in range(4):
            robot.tick()
        try:
            check_end(robot, first, other, shown="injected")
        except AssertionError as exc:
            raise AssertionError(
                f"call {at}: {faults.calls} {robot.errors}, {robot.events}, {robot.rollout.phase}"
            ) from exc
    assert at > 3


def test_a_host_that_refuses_to_roll_back_is_asked_again_at_every_tick(make, first, other, monkeypatch):
    robot = make(Faults(), "")
    robot.rollout.offer(other, "there")
    robot.tick()
    assert robot.rollout.phase == "watch"
    robot.runtime.causes["inference_failed"] += 1

    def refuse(*_):
        raise RuntimeError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(robot.runtime, "rollback", refuse)
        patch.setattr(robot.runtime, "swap", refuse)
        robot.tick()
        robot.tick()
        assert (robot.rollout.phase, robot.events) == ("rollback", [])
        assert "RuntimeError: not now (test_rollout_faults.py:" in robot.rollout.fault
        assert robot.rollout.withdraw("another is named") is None
        with pytest.raises(BundleError, match="still watched"):
            robot.rollout.offer(other, "there")
    robot.tick()
    assert [event.outcome for event in robot.events] == ["rolled_back"]
    assert robot.runtime.policy.digest == first


def test_a_rollback_is_not_taken_back_where_what_follows_fails(make, first, other, monkeypatch):
    robot = make(Faults(), "")
    robot.rollout.offer(other, "there")
    robot.tick()
    robot.runtime.causes["inference_failed"] += 1
    monkeypatch.setattr(robot.store, "mark_bad", lambda *_: 1 / 0)
    robot.tick()
    assert robot.runtime.policy.digest == first
    assert "division by zero" in robot.events[0].reason
    with pytest.raises(BundleError, match="it failed in this process: inference_failed: 1"):
        robot.rollout.offer(other, "there")


@pytest.mark.parametrize("cause", ["inference_failed", "a_cause_of_another_version"])
def test_a_cause_that_is_not_the_robots_own_rolls_back(make, first, other, cause):
    robot = make(Faults(), "")
    robot.rollout.offer(other, "there")
    robot.tick()
    robot.runtime.causes[cause] = robot.runtime.causes.get(cause, 0) + 1
    robot.tick()
    assert [(event.outcome, event.reason) for event in robot.events] == [("rolled_back", f"{cause}: 1")]


def test_an_unexpected_error_of_the_host_rolls_back(make, first, other):
    robot = make(Faults(), "")
    robot.runtime.unexpected_errors = 4  # a server counts them
    robot.rollout.offer(other, "there")
    robot.tick()
    robot.runtime.unexpected_errors = 5
    robot.tick()
    assert [event.reason for event in robot.events] == ["unexpected errors: 1"]
    assert robot.runtime.policy.digest == first


@pytest.mark.parametrize("phase", ["shadow", "watch"])
def test_a_comparison_whose_thread_ended_ends_the_phase(make, first, other, phase, monkeypatch):
    robot = make(Faults(), "")
    robot.rollout.offer(other, "there")
    if phase == "watch":
        robot.tick()
    monkeypatch.setattr(Shadow, "_add", lambda *_: 1 / 0)
    for _ in range(4):
        robot.tick()
    assert [event.outcome for event in robot.events] == ["withdrawn"]
    reason = f"an error in the {phase} phase: RuntimeError: the comparison ended: ZeroDivisionError"
    assert robot.events[0].reason.startswith(reason)
    assert robot.runtime.policy.digest == first


def test_a_candidate_that_does_not_come_back_is_not_swapped_in(make, first, other, monkeypatch):
    robot = make(Faults(), "")
    robot.rollout.offer(other, "there")
    robot.step()
    monkeypatch.setattr("sacpipe.robot.shadow._CLOSE_S", 0.01)
    monkeypatch.setattr(other.policy, "run", lambda _: time.sleep(1.0))
    robot.runtime.step(np.zeros(3, np.float32), int(robot.now_s * 1e9) + 1)
    robot.now_s += 60.0
    event = robot.rollout.tick()
    assert (event.outcome, robot.runtime.policy.digest) == ("withdrawn", first)
    assert "still computes" in event.reason


def test_a_bundle_whose_rollouts_errors_ended_three_times_is_refused(make, first, other, monkeypatch):
    robot = make(Faults(), "")
    monkeypatch.setattr(robot.runtime, "swap", lambda *_: 1 / 0)
    for _ in range(3):
        robot.rollout.offer(other, "there")
        robot.tick()
    assert [event.outcome for event in robot.events] == ["withdrawn"] * 3
    with pytest.raises(BundleError, match="errors ended 3 of its rollouts; restart the process") as refusal:
        robot.rollout.offer(other, "there")
    assert refusal.value.rule == "store"
    assert dict(robot.store.bad) == {}


def test_a_disk_that_stays_full_at_the_end_of_the_watch_ends_it_after_a_minute(
    make, first, other, monkeypatch
):
    robot = make(Faults(), "")
    robot.rollout.offer(other, "there")
    robot.tick()
    with monkeypatch.context() as patch:
        patch.setattr(
            robot.store, "_write", lambda _: (_ for _ in ()).throw(StorageError("the disk is full"))
        )
        robot.tick()
        assert (robot.rollout.phase, len(robot.errors)) == ("watch", 1)
        robot.tick()  # a minute later
    assert [event.outcome for event in robot.events] == ["withdrawn"]
    assert robot.runtime.policy.digest == first
    robot.rollout.offer(other, "there")  # a full disk is not the bundle's fault


class SizeLimit:
    """A real limit of this process on the size of a file: every write beyond it fails, as on a full disk."""

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.handler)


@pytest.mark.parametrize("full_at", range(6))
@pytest.mark.parametrize("is_failing", [False, True], ids=["good", "failing"])
def test_a_disk_that_is_really_full_from_one_tick_on_leaves_the_previous_policy(
    make, first, other, monkeypatch, full_at, is_failing
):
    robot = make(Faults(), "")
    if is_failing:
        fail_in_service(robot, other, monkeypatch)
    if full_at == 0:
        with SizeLimit(), pytest.raises(StorageError, match="exceeds the size limit"):
            robot.rollout.offer(other, "there")
    else:
        robot.rollout.offer(other, "there")
    for number in range(1, 6):
        if number >= full_at:
            with SizeLimit():
                robot.tick()
        else:
            robot.tick()
    assert robot.rollout.phase == "idle"
    served = [event.outcome for event in robot.events] == ["accepted"]
    assert served == (full_at > 2 and not is_failing)
    assert robot.runtime.policy.digest == (other.report.bundle_digest if served else first)
    folder = robot.store.path(first).parents[1]
    robot.store.close()
    with BundleStore(folder) as again:
        assert next(again.good()).bundle_digest == robot.runtime.policy.digest


def test_the_description_of_an_error_is_one_line_with_its_place():
    try:
        {}["key"]
    except KeyError as exc:
        text = context_module.describe_error(exc)
    assert text.startswith("KeyError: 'key' (test_rollout_faults.py:")
