"""Each guard refuses its own cause, once, and the contract's fallback is executed."""

import numpy as np
import pytest
from stepped_runtime import CALM, MS, PERIOD_NS, Clock, go, make_runtime, observation

from sacpipe.bundle.guards import GUARDS
from sacpipe.core.errors import BundleError
from sacpipe.robot.armed_guards import ArmedGuards
from sacpipe.robot.guard_chain import GuardChain
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime


def test_a_sane_observation_gets_the_policys_action(build):
    runtime, clock = make_runtime(build())
    decision = go(runtime, clock, CALM, age_ns=3 * MS)
    assert decision.action.tolist() == [1.25, 2.5]
    assert decision.action.dtype == np.float32
    assert (decision.verdict, decision.reasons) == ("ok", ())
    assert decision.timings.age_ns == 3 * MS
    assert runtime.verdicts == {"ok": 1, "limited": 0, "fallback": 0, "stopped": 0}
    assert set(runtime.causes.values()) == {0}


def test_terms_by_name_are_the_vector(build):
    runtime, clock = make_runtime(build())
    named = {"velocity": observation(0.0), "position": observation(0.5, 0.25)}
    assert go(runtime, clock, named).action.tolist() == [1.25, 2.5]


def test_a_kept_decision_is_not_written_again(build):
    runtime, clock = make_runtime(build())
    first = go(runtime, clock, CALM)
    go(runtime, clock, observation(1.0, 0.0, 0.0))
    assert first.action.tolist() == [1.25, 2.5]


BAD_SHAPES = [
    np.zeros(2, np.float32),
    np.zeros((1, 3), np.float32),
    np.zeros(3, np.float64),
    {"position": observation(0, 0)},
    {"position": observation(0, 0), "speed": observation(0)},
    {"position": observation(0, 0, 0), "velocity": observation(0)},
    {"position": np.zeros(2), "velocity": observation(0)},
    {"position": [0.0, 0.0], "velocity": observation(0)},
    None,
    "no",
]


class TestGuards:
    """In each: the cause is counted once, and the fallback set for it is what is done."""

    @pytest.fixture
    def runtime(self, build):
        """All causes hold; one sane step was made."""
        self.runtime, self.clock = make_runtime(build(), fallbacks="hold")
        go(self.runtime, self.clock, CALM)
        return self.runtime

    def refused(self, cause, seen, **when):
        decision = go(self.runtime, self.clock, seen, **when)
        assert (decision.verdict, decision.reasons) == ("fallback", (cause,))
        assert decision.action.tolist() == [1.25, 2.5]  # the last one, held
        assert {name for name, count in self.runtime.causes.items() if count} == {cause}
        assert self.runtime.verdicts == {"ok": 1, "limited": 0, "fallback": 1, "stopped": 0}
        return decision

    @pytest.mark.parametrize("seen", BAD_SHAPES)
    def test_shape(self, runtime, seen):
        self.refused("shape", seen)

    @pytest.mark.parametrize("entry", [0, 1, 2])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_observation_not_finite(self, runtime, entry, value):
        seen = CALM.copy()
        seen[entry] = value
        assert self.refused("observation_not_finite", seen).timings.policy_ns == 0

    def test_observation_old(self, runtime):
        """Allowed are two periods of 20 ms."""
        assert go(runtime, self.clock, CALM, 2 * PERIOD_NS, age_ns=40 * MS - 1).verdict == "ok"
        runtime.verdicts["ok"] -= 1
        self.refused("observation_old", CALM, passed_ns=3 * PERIOD_NS, age_ns=40 * MS + 1)

    def test_observation_from_future(self, runtime):
        """Allowed is half a period."""
        assert go(runtime, self.clock, CALM, age_ns=-10 * MS).verdict == "ok"
        runtime.verdicts["ok"] -= 1
        self.refused("observation_from_future", CALM, age_ns=-10 * MS - 1)

    def test_observation_repeated(self, runtime):
        self.refused("observation_repeated", CALM, age_ns=PERIOD_NS)

    def test_observation_out_of_order(self, runtime):
        self.refused("observation_out_of_order", CALM, age_ns=PERIOD_NS + 1)

    def test_a_refused_stamp_does_not_count_as_the_last(self, runtime):
        self.refused("observation_from_future", CALM, age_ns=-11 * MS)
        assert go(runtime, self.clock, CALM).verdict == "ok"

    def test_start_outside_envelope(self, runtime):
        """Training saw -10 to 10, and the margin is a tenth of that range."""
        runtime.begin_episode()
        assert go(runtime, self.clock, observation(12.0, -12.0, 0.0)).verdict == "ok"
        assert go(runtime, self.clock, observation(99.0, 99.0, 0.0)).verdict == "ok"  # no start any more
        runtime.begin_episode()
        decision = go(runtime, self.clock, observation(0.0, 0.0, 12.1))
        assert decision.reasons == ("start_outside_envelope",)
        assert decision.action.tolist() == [0.0, 0.0]  # nothing to hold yet: the safe action
        assert go(runtime, self.clock, CALM).verdict == "ok"

    def test_outside_envelope(self, build):
        """Training saw -10 to 10: at every step, not at the first alone, 10 and a tenth of the range more."""
        guards = {"outside_envelope": {"margin": 0.1, "fallback": "hold"}}
        self.runtime, self.clock = make_runtime(build(), guards, fallbacks="hold")
        assert go(self.runtime, self.clock, CALM).verdict == "ok"
        decision = self.refused("outside_envelope", observation(0.0, 0.0, 12.1))
        assert decision.has_observation
        assert go(self.runtime, self.clock, observation(1.0, 1.0, 12.0)).verdict == "ok"

    def test_sensor_frozen(self, build):
        """The velocity keeps its value; two repeats are allowed."""
        guards = {"sensor_frozen": {"max_repeats": 2, "terms": ["velocity"], "fallback": "hold"}}
        self.runtime, self.clock = make_runtime(build(), guards, fallbacks="hold")
        for x in (0.1, 0.2, 0.3):
            assert go(self.runtime, self.clock, observation(x, x - 0.25, 7.0)).verdict == "ok"
        decision = go(self.runtime, self.clock, observation(0.4, 0.15, 7.0))
        assert (decision.verdict, decision.reasons) == ("fallback", ("sensor_frozen",))
        assert not decision.has_observation
        assert go(self.runtime, self.clock, observation(0.4, 0.15, 7.1)).verdict == "ok"

    def test_deadline_missed(self, runtime):
        """Allowed are 16 ms; the clock is looked at three times before the question."""
        self.clock.each_look_ns = 6 * MS
        assert self.refused("deadline_missed", CALM).timings.policy_ns == 6 * MS

    def test_inference_failed(self, runtime, monkeypatch):
        def broken(_):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(runtime.policy, "run", broken)
        self.refused("inference_failed", CALM)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_action_not_finite(self, runtime, monkeypatch, value):
        monkeypatch.setattr(runtime.policy, "run", lambda _: observation(0.0, value))
        self.refused("action_not_finite", CALM)

    @pytest.mark.parametrize("given", [(3.001, 0.0), (0.0, -4.001)])
    def test_action_outside_bounds(self, runtime, monkeypatch, given):
        monkeypatch.setattr(runtime.policy, "run", lambda _: observation(*given))
        self.refused("action_outside_bounds", CALM)

    def test_action_change(self, build):
        """A tenth of the ranges 5 and 8, from (1.25, 2.5): 0.5 and 0.8."""
        runtime, clock = make_runtime(build(), {"action_change": {"max_change": 0.1}})
        go(runtime, clock, CALM)
        decision = go(runtime, clock, observation(0.0, 0.25, 0.0))  # (0.75, 1.5)
        assert (decision.verdict, decision.reasons) == ("limited", ("action_change",))
        np.testing.assert_allclose(decision.action, [0.75, 1.7])
        decision = go(runtime, clock, observation(0.5, 0.25, 0.0))
        assert decision.verdict == "ok"  # from (0.75, 1.7) to (1.25, 2.5): both just allowed
        np.testing.assert_allclose(decision.action, [1.25, 2.5])

    def test_every_cause_has_a_test(self):
        assert {name.removeprefix("test_") for name in dir(type(self))} >= set(GUARDS.ours)


class TestFallbacks:
    @pytest.mark.parametrize(
        ("fallback", "action", "verdict"),
        [
            ("hold", [1.25, 2.5], "fallback"),
            ("last", [1.25, 2.5], "fallback"),
            ("zero", [0.0, 0.0], "fallback"),
            ("safe", [-1.0, 2.0], "fallback"),
            ("stop", [-1.0, 2.0], "stopped"),
        ],
    )
    def test_what_is_done(self, build, fallback, action, verdict):
        runtime, clock = make_runtime(build(), safe_action=[-1.0, 2.0], fallbacks={"shape": fallback})
        go(runtime, clock, CALM)
        decision = go(runtime, clock, None)
        assert (decision.action.tolist(), decision.verdict) == (action, verdict)
        assert runtime.is_stopped == (fallback == "stop")

    def test_last_becomes_a_stop_where_it_goes_on(self, build):
        runtime, clock = make_runtime(build(), max_last_steps=2, fallbacks={"shape": "last"})
        go(runtime, clock, CALM)
        assert [go(runtime, clock, None).verdict for _ in range(3)] == ["fallback", "fallback", "stopped"]

    def test_a_sane_step_between_begins_the_count_anew(self, build):
        runtime, clock = make_runtime(build(), max_last_steps=1, fallbacks={"shape": "last"})
        for _ in range(3):
            assert go(runtime, clock, CALM).verdict == "ok"
            assert go(runtime, clock, None).verdict == "fallback"

    def test_hold_goes_on(self, build):
        runtime, clock = make_runtime(build(), max_last_steps=1, fallbacks={"shape": "hold"})
        go(runtime, clock, CALM)
        assert {go(runtime, clock, None).verdict for _ in range(100)} == {"fallback"}

    def test_a_stop_stays_until_it_is_cleared_and_names_its_cause(self, build):
        runtime, clock = make_runtime(build(), fallbacks={"shape": "stop"})
        go(runtime, clock, None)
        for _ in range(3):
            decision = go(runtime, clock, CALM)
            assert (decision.verdict, decision.reasons) == ("stopped", ("shape",))
            assert decision.action.tolist() == [0.0, 0.0]
        runtime.begin_episode()
        assert go(runtime, clock, CALM).verdict == "stopped"
        runtime.clear_stop()
        assert go(runtime, clock, CALM).verdict == "ok"

    def test_a_safe_action_that_is_none_is_refused(self, build):
        with pytest.raises(
            BundleError, match=r"runtime.safe_action: expected 2 numbers within .*\[9.0, 0.0\]"
        ):
            make_runtime(build(), safe_action=[9.0, 0.0])


class TestSwap:
    @pytest.fixture
    def negated(self, build_other):
        """The same task; gives minus twice the second entry: action = clip(-(x0 - x1 + 1), ...)."""
        return OnnxPolicy(build_other)

    def test_at_once(self, build, negated):
        runtime, clock = make_runtime(build())
        go(runtime, clock, CALM)
        runtime.swap(negated)
        assert go(runtime, clock, CALM).action.tolist() == [-1.25, -2.5]
        assert runtime.policy is negated

    def test_blends_in_equal_steps(self, build, negated):
        """From 1.25 to -1.25 over four steps: fifths of the way."""
        runtime, clock = make_runtime(build())
        go(runtime, clock, CALM)
        runtime.swap(negated, blend_steps=4)
        first = [float(go(runtime, clock, CALM).action[0]) for _ in range(6)]
        np.testing.assert_allclose(first, [0.75, 0.25, -0.25, -0.75, -1.25, -1.25], rtol=1e-6)

    def test_rollback(self, build, negated):
        runtime, clock = make_runtime(build())
        with pytest.raises(BundleError, match="no policy to go back to"):
            runtime.rollback()
        runtime.swap(negated)
        go(runtime, clock, CALM)
        runtime.rollback()
        assert go(runtime, clock, CALM).action.tolist() == [1.25, 2.5]

    def test_another_task_is_refused_and_the_policy_goes_on(self, build, negated, monkeypatch):
        runtime, clock = make_runtime(build())
        other = negated.contract.spec.replace(task="example/Other-v0")
        monkeypatch.setattr(negated, "contract", negated.contract.replace(spec=other.as_tree()))
        with pytest.raises(BundleError, match="The policy in service goes on"):
            runtime.swap(negated)
        assert go(runtime, clock, CALM).action.tolist() == [1.25, 2.5]

    def test_a_swap_that_fails_half_way_changes_nothing(self, build, negated, monkeypatch):
        runtime, clock = make_runtime(build())
        monkeypatch.setattr(ArmedGuards, "of", raise_error)
        with pytest.raises(ZeroDivisionError):
            runtime.swap(negated)
        with pytest.raises(BundleError, match="no policy to go back to"):
            runtime.rollback()
        assert go(runtime, clock, CALM).action.tolist() == [1.25, 2.5]


def raise_error(*_, **__):
    raise ZeroDivisionError("unforeseen")


class Hostile(dict):
    """An observation by terms that raises where it is read."""

    def __getitem__(self, name):
        raise_error()


class TestUnforeseenErrors:
    """Whatever raises in a step, a decision comes out, and the error is counted as `inference_failed`."""

    @pytest.mark.parametrize("name", ["check_observation", "check_action"])
    def test_in_a_guard(self, build, monkeypatch, name):
        runtime, clock = make_runtime(build(), fallbacks={"inference_failed": "last"})
        go(runtime, clock, CALM)
        monkeypatch.setattr(GuardChain, name, raise_error)
        decision = go(runtime, clock, observation(3.0, 1.0, 0.0))
        assert (decision.verdict, decision.reasons) == ("fallback", ("inference_failed",))
        assert decision.action.tolist() == [1.25, 2.5]
        assert decision.policy_action is None
        assert isinstance(runtime.last_error, ZeroDivisionError)
        assert runtime.causes["inference_failed"] == sum(runtime.causes.values()) == 1
        assert runtime.verdicts == {"ok": 1, "limited": 0, "fallback": 1, "stopped": 0}

    def test_in_the_fallback_itself_latches_a_stop(self, build, monkeypatch):
        runtime, clock = make_runtime(build(), fallbacks={"inference_failed": "hold"})
        monkeypatch.setattr(GuardChain, "decide", raise_error)
        for _ in range(3):
            decision = go(runtime, clock, CALM)
            assert (decision.verdict, decision.reasons) == ("stopped", ("inference_failed",))
            assert decision.action.tolist() == [0.0, 0.0]
        assert (runtime.is_stopped, runtime.stops, runtime.causes["inference_failed"]) == (True, 1, 3)
        monkeypatch.undo()
        assert go(runtime, clock, CALM).verdict == "stopped"
        runtime.clear_stop()
        assert go(runtime, clock, CALM).verdict == "ok"

    def test_while_a_policy_takes_over(self, build, build_other, monkeypatch):
        runtime, clock = make_runtime(build())
        monkeypatch.setattr(runtime, "_take_over", raise_error)
        runtime.swap(OnnxPolicy(build_other))
        assert go(runtime, clock, CALM).verdict == "stopped"

    @pytest.mark.parametrize("stamp", ["now", None, [1], {"position": "now", "velocity": 1}, 1j])
    def test_in_a_stamp_of_another_type(self, build, stamp):
        runtime, _ = make_runtime(build())
        decision = runtime.step(CALM, stamp)
        assert (decision.verdict, decision.reasons) == ("stopped", ("inference_failed",))

    def test_in_an_observation_that_raises(self, build):
        runtime, clock = make_runtime(build())
        hostile = Hostile(position=observation(0.0, 0.0), velocity=observation(0.0))
        assert go(runtime, clock, hostile).reasons == ("inference_failed",)

    def test_in_the_clock(self, build):
        runtime, _ = make_runtime(build())
        runtime._clock_ns = raise_error
        assert runtime.step(CALM, 10**12).verdict == "stopped"

    def test_in_a_listener_changes_no_decision_and_stops_no_other_listener(self, build):
        runtime, clock = make_runtime(build())
        steps = []
        runtime.listeners.add(raise_error)
        runtime.listeners.add(lambda *step: steps.append(step))
        decisions = [go(runtime, clock, CALM) for _ in range(2)]
        assert [decision.verdict for decision in decisions] == ["ok", "ok"]
        assert (runtime.listener_errors, len(steps), sum(runtime.causes.values())) == (2, 2, 0)

    def test_ctrl_c_is_no_error_of_a_step(self, build, monkeypatch):
        runtime, clock = make_runtime(build())

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(GuardChain, "check_observation", interrupt)
        with pytest.raises(KeyboardInterrupt):
            go(runtime, clock, CALM)


@pytest.mark.parametrize("period_s", [1e300, 1e-300])
def test_no_period_overflows(build, period_s):
    runtime = Runtime(OnnxPolicy(build()), control_period_s=period_s, clock_ns=Clock())
    assert runtime.step(CALM, 10**12).action.dtype == np.float32
