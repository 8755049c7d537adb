"""Stamps of terms, the ramp, the watchdog and stochastic policies in a runtime."""

import math
import threading

import numpy as np
import pytest
from bundle_factories import make_bundle, make_onnx, make_spec
from guard_factories import make_settings
from stepped_runtime import CALM, MS, PERIOD_NS, go, make_runtime, observation

from sacpipe.robot.policy import OnnxPolicy


class TestStamps:
    """Each term may have a stamp of its own: the newest is the observation's, the oldest counts for its age."""

    def go(self, runtime, clock, position_age_ns, velocity_age_ns, passed_ns=PERIOD_NS):
        clock.now_ns += passed_ns
        stamps = {"position": clock.now_ns - position_age_ns, "velocity": clock.now_ns - velocity_age_ns}
        return runtime.step(CALM, stamps)

    def test_the_oldest_term_is_the_age(self, build):
        runtime, clock = make_runtime(build())
        decision = self.go(runtime, clock, 3 * MS, 5 * MS)
        assert (decision.verdict, decision.timings.age_ns) == ("ok", 5 * MS)
        assert self.go(runtime, clock, 0, 40 * MS, 60 * MS).verdict == "ok"
        assert self.go(runtime, clock, 0, 40 * MS + 1, 60 * MS).reasons == ("observation_old",)

    def test_a_term_may_have_a_limit_of_its_own(self, build):
        runtime, clock = make_runtime(build(), term_max_age_periods={"velocity": 10.0})
        assert self.go(runtime, clock, 0, 200 * MS).verdict == "ok"
        assert self.go(runtime, clock, 0, 200 * MS + 1).reasons == ("observation_old",)
        assert self.go(runtime, clock, 40 * MS + 1, 0, 60 * MS).reasons == ("observation_old",)

    def test_one_stamp_is_that_of_every_term(self, build):
        """The shortest limit counts."""
        runtime, clock = make_runtime(build(), term_max_age_periods={"velocity": 0.5})
        assert go(runtime, clock, CALM, age_ns=10 * MS).verdict == "ok"
        assert go(runtime, clock, CALM, age_ns=10 * MS + 1).reasons == ("observation_old",)

    def test_a_slow_term_may_repeat_and_no_term_may_go_back(self, build):
        runtime, clock = make_runtime(build(), fallbacks="hold")
        assert self.go(runtime, clock, 0, 0).verdict == "ok"
        assert self.go(runtime, clock, 0, PERIOD_NS).verdict == "ok"  # the velocity is the one before
        assert self.go(runtime, clock, 0, 2 * PERIOD_NS + 1).reasons == ("observation_out_of_order",)
        assert self.go(runtime, clock, 2 * PERIOD_NS + 1, 0).reasons == ("observation_out_of_order",)
        assert self.go(runtime, clock, 3 * PERIOD_NS, 3 * PERIOD_NS).reasons == ("observation_repeated",)

    def test_after_one_stamp_only_the_newest_is_compared(self, build):
        runtime, clock = make_runtime(build(), term_max_age_periods={"velocity": 10.0})
        assert self.go(runtime, clock, 0, 0).verdict == "ok"
        assert go(runtime, clock, CALM).verdict == "ok"
        assert self.go(runtime, clock, 0, 2 * PERIOD_NS + 1).verdict == "ok"

    @pytest.mark.parametrize("stamps", [{}, {"position": 1}, {"position": 1, "velocity": 1, "force": 1}])
    def test_stamps_of_other_terms_are_another_shape(self, build, stamps):
        runtime, _ = make_runtime(build())
        assert runtime.step(CALM, stamps).reasons == ("shape",)

    @pytest.mark.parametrize("place", ["position", "velocity"])
    @pytest.mark.parametrize("stamp_ns", [math.nan, 1e12, None, "1"])
    def test_a_stamp_that_is_no_integer_is_refused(self, build, place, stamp_ns):
        """NaN is neither old nor out of order: a comparison would let it pass."""
        runtime, clock = make_runtime(build())
        stamps = dict.fromkeys(("position", "velocity"), clock.now_ns) | {place: stamp_ns}
        assert runtime.step(CALM, stamps).reasons == ("inference_failed",)
        assert isinstance(runtime.last_error, TypeError)

    def test_integers_of_numpy_are_stamps(self, build):
        """Unsigned ones too: their differences would not be negative."""
        runtime, clock = make_runtime(build())
        for integer in (np.int64, np.uint64):
            clock.now_ns += PERIOD_NS
            assert runtime.step(CALM, integer(clock.now_ns - MS)).verdict == "ok"
            clock.now_ns += PERIOD_NS
            stamps = {"position": integer(clock.now_ns - 3 * MS), "velocity": integer(clock.now_ns)}
            decision = runtime.step(CALM, stamps)
            assert (decision.verdict, decision.timings.age_ns) == ("ok", 3 * MS)


def test_a_guard_forgets_the_episode_before(build):
    guards = {"sensor_frozen": {"max_repeats": 1, "fallback": "safe"}}
    runtime, clock = make_runtime(build(), guards)
    for _ in range(2):
        assert [go(runtime, clock, CALM).verdict for _ in range(3)] == ["ok", "ok", "fallback"]
        runtime.begin_episode()


class TestRamp:
    """From the safe action (0, 0) to (1.25, 2.5), of which the first entry is compared."""

    def first(self, runtime, clock, steps):
        return [float(go(runtime, clock, CALM).action[0]) for _ in range(steps)]

    def test_the_policy_takes_over_in_equal_steps(self, build):
        runtime, clock = make_runtime(build(), ramp_steps=4)
        np.testing.assert_allclose(self.first(runtime, clock, 6), [0.25, 0.5, 0.75, 1.0, 1.25, 1.25])

    def test_the_policys_own_action_is_kept_beside(self, build):
        runtime, clock = make_runtime(build(), ramp_steps=4)
        decision = go(runtime, clock, CALM)
        assert (decision.verdict, decision.policy_action.tolist()) == ("ok", [1.25, 2.5])

    def test_it_begins_anew_with_an_episode_and_after_a_cleared_stop(self, build):
        runtime, clock = make_runtime(build(), ramp_steps=1, fallbacks={"shape": "stop"})
        assert self.first(runtime, clock, 2) == [0.625, 1.25]
        runtime.begin_episode()
        assert self.first(runtime, clock, 2) == [0.625, 1.25]
        go(runtime, clock, None)
        runtime.clear_stop()
        assert self.first(runtime, clock, 2) == [0.625, 1.25]

    def test_a_refused_step_does_not_advance_it(self, build):
        runtime, clock = make_runtime(build(), ramp_steps=1, fallbacks={"shape": "safe"})
        go(runtime, clock, None)
        assert self.first(runtime, clock, 2) == [0.625, 1.25]

    @pytest.mark.parametrize(
        ("own_steps", "others_steps", "expected"), [(4, 1, [-0.625, -1.25]), (0, 1, [-0.625, -1.25])]
    )
    def test_a_policy_swapped_in_before_the_first_step_has_its_own(
        self, build, build_other, own_steps, others_steps, expected
    ):
        runtime, clock = make_runtime(build(), ramp_steps=own_steps)
        runtime._settings = make_settings(ramp_steps=others_steps)
        runtime.begin_episode()
        runtime.swap(OnnxPolicy(build_other))
        assert self.first(runtime, clock, 2) == expected

    @pytest.mark.parametrize("others_steps", [0, 1, 100])
    def test_a_swap_during_it_does_not_change_its_length(self, build, build_other, others_steps):
        """The share of the safe action goes on from 4/5 to 3/5: a swap never leads back to the safe action."""
        runtime, clock = make_runtime(build(), ramp_steps=4)
        assert self.first(runtime, clock, 1) == [0.25]
        runtime._settings = make_settings(ramp_steps=others_steps)
        runtime.swap(OnnxPolicy(build_other))
        np.testing.assert_allclose(self.first(runtime, clock, 4), [-0.5, -0.75, -1.0, -1.25])

    def test_an_action_that_is_not_finite_is_refused_during_it_too(self, build, monkeypatch):
        runtime, clock = make_runtime(build(), ramp_steps=4)
        monkeypatch.setattr(runtime.policy, "run", lambda _: observation(0.0, np.nan))
        assert go(runtime, clock, CALM).reasons == ("action_not_finite",)


class TestWatchdog:
    """Three periods of 20 ms without a step stop the robot."""

    @pytest.fixture
    def runtime(self, build):
        runtime, self.clock = make_runtime(
            build(), watchdog_periods=3.0, safe_action=[-1.0, 2.0], stop_category=2
        )
        go(runtime, self.clock, CALM)
        return runtime

    def test_no_step_for_that_many_periods_is_a_stop(self, runtime):
        assert runtime.check_watchdog(self.clock.now_ns + 3 * PERIOD_NS) is None
        decision = runtime.check_watchdog(self.clock.now_ns + 3 * PERIOD_NS + 1)
        assert (decision.verdict, decision.reasons) == ("stopped", ("watchdog",))
        assert (decision.action.tolist(), decision.stop_category) == ([-1.0, 2.0], 2)
        assert (runtime.stops, runtime.causes["watchdog"]) == (1, 1)

    def test_the_stop_stays_until_it_is_cleared_and_counts_once(self, runtime):
        for later in (4, 5, 6):
            assert runtime.check_watchdog(self.clock.now_ns + later * PERIOD_NS).verdict == "stopped"
        decision = go(runtime, self.clock, CALM)
        assert (decision.verdict, decision.reasons) == ("stopped", ("watchdog",))
        assert (runtime.stops, runtime.causes["watchdog"]) == (1, 1)
        runtime.clear_stop()
        assert runtime.check_watchdog(self.clock.now_ns + 100 * PERIOD_NS) is None
        assert go(runtime, self.clock, CALM).verdict == "ok"

    def test_a_step_that_hangs_is_no_step(self, runtime, monkeypatch):
        """The robot's own thread asks while the stepping thread waits for the policy."""
        found = []

        def hang(_):
            found.append(runtime.check_watchdog(self.clock.now_ns + 4 * PERIOD_NS))
            return observation(0.5, 0.5)

        monkeypatch.setattr(runtime.policy, "run", hang)
        assert go(runtime, self.clock, CALM).verdict == "stopped"
        assert found[0].reasons == ("watchdog",)

    def test_it_waits_for_the_first_step(self, build):
        runtime, clock = make_runtime(build(), watchdog_periods=3.0)
        assert runtime.check_watchdog(clock.now_ns + 10**12) is None
        go(runtime, clock, CALM)
        runtime.begin_episode()
        assert runtime.check_watchdog(clock.now_ns + 10**12) is None

    def test_another_stop_keeps_its_cause(self, runtime):
        go(runtime, self.clock, None)
        decision = runtime.check_watchdog(self.clock.now_ns + 4 * PERIOD_NS)
        assert (decision.reasons, runtime.causes["watchdog"], runtime.stops) == (("shape",), 0, 1)

    def test_without_one_nothing_is_stopped(self, build):
        runtime, clock = make_runtime(build())
        go(runtime, clock, CALM)
        assert runtime.check_watchdog(clock.now_ns + 10**12) is None


class TestClearing:
    """Any thread may clear a stop; the stepping thread alone changes the episode."""

    def test_the_next_step_begins_the_episode_and_the_stop_is_gone_at_once(self, build):
        runtime, clock = make_runtime(build(), fallbacks={"shape": "stop"})
        go(runtime, clock, None)
        operator = threading.Thread(target=runtime.clear_stop)
        operator.start()
        operator.join()
        assert (runtime.is_stopped, runtime.episode) == (False, 0)
        assert (go(runtime, clock, CALM).verdict, runtime.episode) == ("ok", 1)
        assert (go(runtime, clock, CALM).verdict, runtime.episode) == ("ok", 1)

    def test_an_episode_that_the_robot_begins_itself_is_that_episode(self, build):
        runtime, clock = make_runtime(build(), fallbacks={"shape": "stop"})
        go(runtime, clock, None)
        runtime.clear_stop()
        runtime.begin_episode()
        assert (go(runtime, clock, CALM).verdict, runtime.episode) == ("ok", 1)

    def test_a_step_under_way_keeps_its_episode(self, build, monkeypatch):
        runtime, clock = make_runtime(build())
        run = runtime.policy.run

        def run_while_an_operator_clears(seen):
            runtime.clear_stop()
            return run(seen)

        monkeypatch.setattr(runtime.policy, "run", run_while_an_operator_clears)
        assert (go(runtime, clock, CALM).verdict, runtime.episode) == ("ok", 0)
        monkeypatch.undo()
        assert (go(runtime, clock, CALM).verdict, runtime.episode) == ("ok", 1)

    def test_a_stop_latched_after_it_holds(self, build):
        runtime, clock = make_runtime(build(), fallbacks={"shape": "stop"})
        runtime.clear_stop()
        assert go(runtime, clock, None).verdict == "stopped"
        assert runtime.is_stopped


def test_a_stop_has_its_category_and_no_other_decision_has(build):
    runtime, clock = make_runtime(build(), stop_category=0, fallbacks={"shape": "stop"})
    assert go(runtime, clock, CALM).stop_category is None
    assert go(runtime, clock, None).stop_category == 0


def test_a_stochastic_policy_draws_its_noise(tmp_path):
    """action = state + noise, and golden noise of zero."""
    spec = make_spec(1, bounds=((-9.0, 9.0),))
    model = make_onnx([[1.0], [1.0]], terms={"state": 1, "noise": 1})
    folder = make_bundle(tmp_path / "noisy", model, spec, [[0.5]], [[0.5]], noise=[[0.0]])
    runtime, clock = make_runtime(folder)
    found = {float(go(runtime, clock, observation(0.5)).action[0]) for _ in range(20)}
    assert len(found) == 20
    assert sum(runtime.causes.values()) == 0
