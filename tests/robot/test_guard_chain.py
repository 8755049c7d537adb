"""The guards of a chain: each threshold at its value, and each number of a limited action, worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
from bundle_factories import make_contract, make_onnx, make_spec
from guard_factories import make_settings

from sacpipe.robot.armed_guards import ArmedGuards
from sacpipe.robot.guard_chain import GuardChain
from sacpipe.robot.guards.guard import ArmedGuard

SPEC = make_spec(2, bounds=((-2.0, 3.0), (1.0, 5.0)))
PERIOD_S = 0.02
MAX_AGE_NS = 40_000_000
MAX_FUTURE_NS = 10_000_000
NOW_NS = 10**12
GUARDS = {
    "observation_old": {"max_age_periods": 2.0},
    "observation_from_future": {"max_future_periods": 0.5},
    "deadline_missed": {"deadline_periods": 0.8},
    "action_change": {"max_change": 0.25},
    "start_outside_envelope": {"margin": 0.5},
}


@pytest.fixture(scope="module")
def contract():
    model = make_onnx([[1, 0], [0, 1]]).SerializeToString()
    envelope = {"low": {"state": [0.0, -4.0]}, "high": {"state": [2.0, 4.0]}}
    return make_contract(model, SPEC, envelope=envelope | {"longest_constant": {"state": 1}})


@pytest.fixture
def make(contract):
    """Return a function that makes a chain with changed settings."""

    def build(**changes):
        settings = make_settings(GUARDS, **changes)
        chain = GuardChain(SPEC, ArmedGuards.of(settings, contract, PERIOD_S), lambda: NOW_NS)
        chain.facts.began_ns = NOW_NS
        return chain

    return build


def seen(*values):
    return np.array(values, np.float32)


def check(guards, stamp_ns, *values, now_ns=NOW_NS):
    return guards.check_observation(seen(*(values or (1.0, 0.0))), stamp_ns, now_ns)


class TestStart:
    def test_a_new_guard_has_seen_nothing(self, make):
        guards = make()
        assert guards.facts.observation.vector.tolist() == [0.0, 0.0]
        assert guards.facts.observation.vector.dtype == np.float32
        assert (guards.stop, guards.stops) == (None, 0)

    @pytest.mark.parametrize("values", [(-1.0, -8.0), (3.0, 8.0)])
    def test_the_envelope_includes_its_margin(self, make, values):
        assert check(make(), NOW_NS, *values) is None

    @pytest.mark.parametrize("values", [(-1.01, 0.0), (3.01, 0.0), (1.0, -8.01), (1.0, 8.01)])
    def test_each_side_of_the_envelope(self, make, values):
        assert check(make(), NOW_NS, *values) == "start_outside_envelope"

    def test_the_envelope_is_for_the_first_step(self, make):
        guards = make()
        assert check(guards, NOW_NS) is None
        guards.decide([0.0, 1.0], None)
        assert check(guards, NOW_NS + 1, 100.0, 100.0) is None
        guards.begin_episode()
        assert check(guards, NOW_NS, 100.0, 100.0) == "start_outside_envelope"

    def test_an_episode_forgets_the_last_stamp_and_action(self, make):
        guards = make()
        check(guards, NOW_NS)
        guards.decide([3.0, 5.0], None)
        guards.begin_episode()
        assert check(guards, NOW_NS - 5) is None
        assert guards.check_action([-2.0, 1.0]) is None

    def test_a_limited_action_is_a_start_too(self, make):
        guards = make(fallbacks={"action_change": "limit"})
        check(guards, NOW_NS)
        guards.decide([0.0, 3.0], "action_change")
        assert check(guards, NOW_NS + 1, 100.0, 100.0) is None

    def test_what_a_fallback_executed_is_the_last_action(self, make):
        guards = make(fallbacks={"shape": "zero", "observation_old": "hold"})
        guards.decide([3.0, 5.0], None)
        assert guards.decide(None, "shape").action == [0.0, 1.0]
        assert guards.decide(None, "observation_old").action == [0.0, 1.0]

    def test_an_episode_begins_with_all_its_repeats(self, make):
        guards = make(max_last_steps=2, fallbacks={"shape": "last"})
        guards.decide([1.0, 2.0], None)
        for _ in range(2):
            assert guards.decide(None, "shape")[1] == "fallback"
        guards.begin_episode()
        assert [guards.decide(None, "shape")[1] for _ in range(3)] == ["fallback", "fallback", "stopped"]
        assert guards.stops == 1

    def test_each_stop_counts_once(self, make):
        guards = make(fallbacks={"shape": "stop"})
        for number in (1, 2, 3):
            assert guards.decide(None, "shape")[1] == "stopped"
            assert guards.decide([0.0, 1.0], None) == ([0.0, 1.0], "stopped", ("shape",))
            assert guards.stops == number
            guards.stop = None


class TestStamps:
    @pytest.mark.parametrize(
        ("age_ns", "cause"),
        [
            (MAX_AGE_NS, None),
            (MAX_AGE_NS + 1, "observation_old"),
            (-MAX_FUTURE_NS, None),
            (-MAX_FUTURE_NS - 1, "observation_from_future"),
        ],
    )
    def test_each_limit_is_allowed_itself(self, make, age_ns, cause):
        assert check(make(), NOW_NS - age_ns) == cause

    def test_order(self, make):
        guards = make()
        assert check(guards, NOW_NS) is None
        assert check(guards, NOW_NS) == "observation_repeated"
        assert check(guards, NOW_NS - 1) == "observation_out_of_order"
        assert check(guards, NOW_NS + 1) is None

    def test_a_stamp_counts_where_only_the_envelope_refuses(self, make):
        guards = make()
        assert check(guards, NOW_NS, 99.0, 0.0) == "start_outside_envelope"
        assert check(guards, NOW_NS, 1.0, 0.0) == "observation_repeated"


class TestActions:
    @pytest.mark.parametrize("action", [[-2.0, 1.0], [3.0, 5.0]])
    def test_bounds_are_allowed_themselves(self, make, action):
        assert make().check_action(action) is None

    @pytest.mark.parametrize("action", [[-2.01, 1.0], [3.01, 1.0], [0.0, 0.99], [0.0, 5.01]])
    def test_each_side_of_each_bound(self, make, action):
        assert make().check_action(action) == "action_outside_bounds"

    def test_no_action_is_a_policy_that_failed(self, make):
        assert make().check_action(None) == "inference_failed"

    @pytest.mark.parametrize(
        ("action", "cause"),
        [
            ([1.25, 3.0], None),
            ([-1.25, 3.0], None),
            ([0.0, 4.0], None),
            ([1.26, 3.0], "action_change"),
            ([-1.26, 3.0], "action_change"),
            ([0.0, 4.01], "action_change"),
            ([0.0, 1.99], "action_change"),
        ],
    )
    def test_a_change_is_of_the_last_executed_action(self, make, action, cause):
        guards = make()
        guards.decide([0.0, 3.0], None)
        assert guards.check_action(action) == cause

    def test_an_action_that_passed_is_executed_as_it_is(self, make):
        guards, action = make(), [0.1, 3.0]
        assert guards.decide(action, None)[0] is action

    def test_an_action_of_another_size_is_an_error_and_not_cut(self, make):
        guards = make(fallbacks={"action_change": "limit"})
        for action in ([0.0], [0.0, 3.0, 3.0]):
            with pytest.raises(ValueError, match="zip"):
                guards.check_action(action)
            with pytest.raises(ValueError, match="zip"):
                guards.decide(action, "action_change")
        guards.decide([0.0], None)
        with pytest.raises(ValueError, match="zip"):
            guards.check_action([0.0, 3.0])
        with pytest.raises(ValueError, match="zip"):
            guards.decide([0.0, 3.0], "action_change")


class TestLimit:
    @pytest.mark.parametrize(
        ("action", "executed"),
        [
            ([3.0, 5.0], [1.25, 4.0]),  # up by a quarter of the range
            ([-2.0, 1.0], [-1.25, 2.0]),  # down by it
            ([0.5, 3.5], [0.5, 3.5]),  # near enough
        ],
    )
    def test_of_a_change(self, make, action, executed):
        guards = make(fallbacks={"action_change": "limit"})
        guards.decide([0.0, 3.0], None)
        assert guards.decide(action, "action_change") == (executed, "limited", ("action_change",))

    @pytest.mark.parametrize(
        ("last", "action", "executed"),
        [
            ([2.5, 4.8], [9.0, 9.0], [3.0, 5.0]),  # the bound is nearer than the largest change
            ([-1.5, 1.2], [-9.0, -9.0], [-2.0, 1.0]),
            ([0.0, 3.0], [9.0, -9.0], [1.25, 2.0]),  # the largest change is nearer
        ],
    )
    def test_of_the_bounds(self, make, last, action, executed):
        guards = make(fallbacks={"action_outside_bounds": "limit"})
        guards.decide(last, None)
        assert guards.decide(action, "action_outside_bounds")[0] == executed

    @pytest.mark.parametrize(
        ("action", "executed"),
        [([9.0, 9.0], [3.0, 5.0]), ([-9.0, -9.0], [-2.0, 1.0]), ([1.0, 9.0], [1.0, 5.0])],
    )
    def test_of_the_bounds_in_the_first_step(self, make, action, executed):
        """There is no last action: only the bounds limit, and nothing else moves."""
        guards = make(fallbacks={"action_outside_bounds": "limit"})
        assert guards.decide(action, "action_outside_bounds")[0] == executed

    def test_what_was_executed_is_the_next_last_action(self, make):
        guards = make(fallbacks={"action_change": "limit"})
        guards.decide([0.0, 3.0], None)
        guards.decide([3.0, 5.0], "action_change")
        assert guards.check_action([2.5, 5.0]) is None
        assert guards.check_action([2.51, 5.0]) == "action_change"

    @pytest.mark.parametrize("broken", [[math.nan, 3.0], [0.0, math.inf], [0.0], []])
    def test_of_a_guard_that_returns_no_action_is_an_error(self, make, broken):
        class Broken(ArmedGuard):
            def limit(self, step, action):
                return broken

        guards = make(fallbacks={"action_change": "limit"})
        guards.armed = dataclasses.replace(guards.armed, limits=(Broken(),))
        with pytest.raises(ArithmeticError, match="a limited action is"):
            guards.decide([0.0, 3.0], "action_change")

    def test_of_the_guard_that_is_asked_earlier_wins_where_two_contradict_each_other(self, make):
        """From 2 at most 1.25 a step, and at most 0.3 by a later guard: 0.75."""

        class Cap(ArmedGuard):
            def limit(self, step, action):
                return [min(value, 0.3) for value in action]

        guards = make(fallbacks={"action_change": "limit"})
        guards.armed = dataclasses.replace(guards.armed, limits=(Cap(), *guards.armed.limits))
        guards.decide([2.0, 1.0], None)
        assert guards.decide([2.0, 1.0], "action_change").action[0] == 0.75


class TestAfterLimit:
    """Later guards judge the limited action: no guard is off because an earlier one limits."""

    @pytest.fixture
    def limiting(self, make):
        """Return a function that makes a chain which limits a change, before a guard of another package."""

        def build(refuses, fallback="stop"):
            guards = make(fallbacks={"action_change": "limit", "action_outside_bounds": "limit"})
            armed = guards.armed
            *ours, deadline = armed.action
            guards.armed = dataclasses.replace(
                armed,
                action=(*ours, ("zone", refuses), deadline),
                fallbacks=armed.fallbacks | {"zone": fallback},
                reasons=armed.reasons | {"zone": ("zone",)},
            )
            guards.decide([0.0, 3.0], None)
            return guards

        return build

    @pytest.mark.parametrize(("action", "limited"), [([3.0, 5.0], [1.25, 4.0]), ([9.0, 9.0], [1.25, 4.0])])
    def test_a_later_guard_refuses_the_limited_action(self, limiting, action, limited):
        seen_actions = []

        def refuses(step):
            seen_actions.append(step.action)
            return True

        guards = limiting(refuses)
        assert guards.check_action(action) == "zone"
        assert seen_actions == [limited]
        assert guards.decide(action, "zone").verdict == "stopped"

    def test_what_no_later_guard_refuses_is_limited(self, limiting):
        guards = limiting(lambda _: False)
        assert guards.check_action([9.0, 9.0]) == "action_outside_bounds"
        assert guards.decide([9.0, 9.0], "action_outside_bounds").action == [1.25, 4.0]

    def test_the_deadline_counts_for_a_limited_action_too(self, limiting):
        guards = limiting(lambda _: False)
        guards.facts.began_ns = NOW_NS - 16_000_001
        assert guards.check_action([9.0, 9.0]) == "deadline_missed"

    def test_a_later_guard_that_limits_does_not_replace_the_cause(self, limiting):
        guards = limiting(lambda _: True, fallback="limit")
        assert guards.check_action([3.0, 5.0]) == "action_change"
