"""Deadlines do not drift, missed ones are counted, and the numbers are those of this run. Time is simulated."""

import gc
import sys

import numpy as np
import pytest
from guard_factories import make_settings
from guard_package import install_guard

from sacpipe.core.errors import ConfigError
from sacpipe.robot.control_loop import Clock, no_interpreter_pauses, realtime_priority, run_loop
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime

pytestmark = pytest.mark.usefixtures("frozen_modules")
PERIOD_NS = 20_000_000


class World:
    """A robot whose steps take a given time, and its simulated clock."""

    def __init__(self, work_ns=(), oversleeps_ns=0, ends_after=None):
        self.now_ns, self.oversleeps_ns = 10**12, oversleeps_ns
        self.work_ns, self.ends_after = list(work_ns), ends_after
        self.begun_ns, self.decisions = [], []

    def clock(self):
        return self.now_ns

    def sleep(self, seconds):
        assert seconds > 0
        self.now_ns += round(seconds * 1e9) + self.oversleeps_ns

    def observe(self):
        self.begun_ns.append(self.now_ns - 10**12)
        return np.zeros(3, np.float32), self.now_ns

    def execute(self, decision):
        self.decisions.append(decision)
        self.now_ns += self.work_ns.pop(0) if self.work_ns else 0
        return len(self.decisions) != self.ends_after


def drive(folder, world, max_steps, busy_wait_s=0.0):
    runtime = Runtime(OnnxPolicy(folder), clock_ns=world.clock)
    return run_loop(
        runtime,
        world,
        period_s=0.02,
        max_steps=max_steps,
        busy_wait_s=busy_wait_s,
        clock=Clock(world.clock, world.sleep),
    )


def test_steps_are_due_at_multiples_of_the_period_whatever_they_take(build):
    world = World(work_ns=[5_000_000, 19_000_000, 1_000])
    report = drive(build(), world, 4)
    assert world.begun_ns == [0, PERIOD_NS, 2 * PERIOD_NS, 3 * PERIOD_NS]
    assert (report.steps, report.missed) == (4, 0)
    assert report.lateness_us.largest == 0.0


def test_sleeping_too_long_does_not_add_up(build):
    world = World(oversleeps_ns=70_000)
    report = drive(build(), world, 100)
    assert world.begun_ns[-1] == 99 * PERIOD_NS + 70_000
    assert report.lateness_us.p50 == 70.0


def test_a_little_late_is_late_and_not_missed(build):
    world = World(work_ns=[25_000_000])
    report = drive(build(), world, 3)
    assert world.begun_ns == [0, 25_000_000, 2 * PERIOD_NS]
    assert (report.missed, report.lateness_us.largest) == (0, 5_000.0)


def test_deadlines_that_have_passed_are_left_out_and_counted(build):
    """A step of 65 ms: the ones due at 20 and 40 ms are left out, the one due at 60 ms is 5 ms late."""
    world = World(work_ns=[65_000_000])
    report = drive(build(), world, 3)
    assert world.begun_ns == [0, 65_000_000, 4 * PERIOD_NS]
    assert report.missed == 2


def test_collecting_garbage_beforehand_makes_no_step_late(build, monkeypatch):
    world, collect = World(), gc.collect

    def slowly():
        world.now_ns += 260_000_000
        return collect()

    monkeypatch.setattr(gc, "collect", slowly)
    report = drive(build(), world, 3)
    assert (report.missed, report.lateness_us.largest) == (0, 0.0)


def test_a_robot_ends_the_loop(build):
    world = World(ends_after=2)
    assert drive(build(), world, 100).steps == 2


def test_a_cause_of_another_package_is_counted_from_its_first_refusal(build, tmp_path, monkeypatch):
    install_guard(tmp_path / "site", monkeypatch)
    settings = make_settings().replace(guards=[{"name": "tilt", "fallback": "safe", "max_tilt": 0.5}])
    world = World()
    runtime = Runtime(OnnxPolicy(build()), settings=settings, clock_ns=world.clock)
    monkeypatch.setattr(world, "observe", lambda: (np.full(3, 0.6, np.float32), world.now_ns))
    report = run_loop(
        runtime, world, period_s=0.02, max_steps=3, busy_wait_s=0.0, clock=Clock(world.clock, world.sleep)
    )
    assert report.causes == {"tilt": 3}


def test_a_loop_that_comes_too_late_for_the_watchdog_executes_its_stop(build):
    """The second step is made 100 ms after the first, and 60 ms are allowed."""
    world = World(work_ns=[100_000_000])
    settings = make_settings(watchdog_periods=3.0)
    runtime = Runtime(OnnxPolicy(build()), settings=settings, clock_ns=world.clock)
    clock = Clock(world.clock, world.sleep)
    report = run_loop(runtime, world, period_s=0.02, max_steps=2, busy_wait_s=0.0, clock=clock)
    assert [decision.reasons for decision in world.decisions] == [(), ("watchdog",)]
    assert (report.verdicts["stopped"], report.causes) == (1, {"watchdog": 1})


@pytest.mark.slow
def test_the_report_counts_this_run_alone(build):
    world = World()
    runtime = Runtime(OnnxPolicy(build()), clock_ns=world.clock)
    settings = {"period_s": 0.02, "busy_wait_s": 0.0, "clock": Clock(world.clock, world.sleep)}
    run_loop(runtime, world, max_steps=3, **settings)
    report = run_loop(runtime, world, max_steps=2, **settings)
    # The second run begins at the moment of the last observation: that one is a repetition.
    assert report.verdicts == {"ok": 1, "limited": 0, "fallback": 1, "stopped": 0}
    assert report.causes == {"observation_repeated": 1}


def test_the_loop_warms_the_policy_up_and_busy_waits_before_a_step_is_due(build, monkeypatch):
    """From 3 ms before: the policy runs as a warm-up, then the clock is read until the deadline."""
    world, ran_ns = World(), []
    runtime = Runtime(OnnxPolicy(build()), clock_ns=world.clock)
    run = runtime.policy.run
    monkeypatch.setattr(
        runtime.policy, "run", lambda seen: (ran_ns.append(world.now_ns - 10**12), run(seen))[1]
    )

    def tick():
        world.now_ns += 1_000_000
        return world.now_ns

    run_loop(runtime, world, period_s=0.02, max_steps=2, busy_wait_s=0.003, clock=Clock(tick, world.sleep))
    first, second = world.begun_ns
    due_ns = 1_000_000 + PERIOD_NS  # the first reading of the clock, and a period
    assert due_ns <= second < due_ns + 3_000_000
    assert ran_ns == [first, due_ns - 3_000_000, second]
    assert sum(runtime.verdicts.values()) == 2


def test_no_garbage_collection_and_short_lock_times_inside_a_loop():
    switch_s = sys.getswitchinterval()
    with no_interpreter_pauses():
        assert not gc.isenabled()
        assert sys.getswitchinterval() == pytest.approx(1e-4)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == switch_s


@pytest.mark.parametrize("priority", [0, 100, -1])
def test_a_priority_that_is_none_is_refused(priority):
    with (
        pytest.raises(ConfigError, match=f"expected 1 to 99 .* found {priority}"),
        realtime_priority(priority),
    ):
        pass
