"""A halted runtime lets no policy act: the robot gets the safe action, and its operator decides when it moves."""

import numpy as np
import pytest
from stepped_runtime import CALM, go, make_runtime, observation

from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime


@pytest.fixture
def negated(build_other):
    return OnnxPolicy(build_other)


def test_each_step_is_a_stop_until_another_policy_may_act(build, negated):
    runtime, clock = make_runtime(build(), safe_action=[-1.0, 2.0])
    go(runtime, clock, CALM)
    runtime.halt()
    for _ in range(2):
        decision = go(runtime, clock, CALM)
        assert (decision.action.tolist(), decision.verdict, decision.reasons) == (
            [-1.0, 2.0],
            "stopped",
            ("no_policy",),
        )
        assert decision.policy_action is None
    runtime.clear_stop()
    assert go(runtime, clock, CALM).verdict == "stopped"
    assert (runtime.causes["no_policy"], runtime.stops) == (2, 2)
    assert runtime.rollback(negated) is runtime.policy is negated
    assert go(runtime, clock, CALM).reasons == ("no_policy",)  # latched
    runtime.clear_stop()
    assert go(runtime, clock, CALM).action.tolist() == [-1.25, -2.5]


def test_a_stop_keeps_its_first_cause(build):
    runtime, clock = make_runtime(build(), fallbacks="stop")
    go(runtime, clock, observation(np.nan, 0.0, 0.0))
    runtime.halt()
    assert go(runtime, clock, CALM).reasons == ("observation_not_finite",)
    assert runtime.causes["no_policy"] == 0


def test_a_swap_ends_it_too(build, negated):
    runtime, clock = make_runtime(build())
    runtime.halt()
    runtime.swap(negated)
    assert go(runtime, clock, CALM).verdict == "ok"


def test_a_rollback_to_a_policy_does_not_blend(build, negated):
    runtime, clock = make_runtime(build(), blend_steps=4)
    go(runtime, clock, CALM)
    runtime.rollback(negated)
    assert go(runtime, clock, CALM).action.tolist() == [-1.25, -2.5]


def test_a_rollback_in_the_middle_of_a_step_lets_the_halted_policy_take_no_step(build, negated):
    runtime, clock = make_runtime(build())
    failing = runtime.policy
    go(runtime, clock, CALM)
    runtime.halt()

    class Interrupted(Runtime):
        """Another thread rolls back after the step has chosen its policy."""

        @property
        def _last_step_ns(self):
            return self.__dict__["_last_step_ns"]

        @_last_step_ns.setter
        def _last_step_ns(self, value):
            self.__dict__["_last_step_ns"] = value
            self.rollback(negated)

    runtime.__class__ = Interrupted
    decision = go(runtime, clock, CALM)
    assert (decision.verdict, decision.reasons) == ("stopped", ("no_policy",))
    runtime.clear_stop()
    go(runtime, clock, CALM)
    assert failing is not runtime.acting_policy is negated
