"""Every guard of the product keeps the contract of a guard, and a guard that breaks it is named."""

import math

import pytest
from bundle_factories import make_spec, term_tree
from pydantic import Field
from tilt import ArmedTilt, Tilt

from sacpipe.bundle.guards import GUARDS
from sacpipe.core.errors import ContractError
from sacpipe.robot.guards.guard import ArmedGuard
from sacpipe.testing.guards import check_guard


@pytest.mark.parametrize("name", GUARDS.ours)
def test_our_guards_keep_the_contract(name):
    guard = GUARDS.find(name)
    assert guard.example().name == name
    check_guard(guard)


@pytest.mark.parametrize("term", [term_tree("joints", 2), term_tree("camera", 2, 2, 1, dtype="uint8")])
def test_a_task_of_numbers_or_of_images_alone(term):
    spec = make_spec(observation=[term])
    for name in ("sensor_frozen", "observation_old", "action_change"):
        check_guard(GUARDS.find(name), spec)


def test_another_guard_keeps_it():
    check_guard(Tilt)


class Knee(Tilt):
    """A guard of one task: its term has a name."""

    @classmethod
    def example_refused(cls, step, contract):
        step.observation["knee"][...] = 3.0

    def check_task(self, spec):
        if "knee" not in spec.layout.shapes:
            raise ValueError("expected the term knee")


def test_a_guard_of_a_certain_task_is_tested_on_it():
    check_guard(Knee, make_spec(observation=[term_tree("knee", 1)]))


class Unbounded(Tilt):
    max_tilt: float = Field(gt=0)


class Forgetful(Tilt):
    """Refuses everything after its first refusal."""

    def arm(self, contract, period_s):
        class Latched(ArmedTilt):
            is_latched = False

            def refuses_observation(self, step):
                self.is_latched |= super().refuses_observation(step)
                return self.is_latched

        return Latched(self.max_tilt)


class Blind(Tilt):
    def arm(self, contract, period_s):
        return ArmedTilt(math.inf)


class Nervous(Tilt):
    def arm(self, contract, period_s):
        return ArmedTilt(0.0)


class Fragile(Tilt):
    def arm(self, contract, period_s):
        class Dividing(ArmedTilt):
            def refuses_observation(self, step):
                return 1 / (step.stamp_ns + 2**63) > self.max_tilt

        return Dividing(self.max_tilt)


class Clockless(Tilt):
    def arm(self, contract, period_s):
        return ArmedTilt(2.0 * period_s / period_s)


class Judgeless(Tilt):
    def arm(self, contract, period_s):
        return ArmedGuard()


class Truthy(Tilt):
    def arm(self, contract, period_s):
        class Number(ArmedTilt):
            def refuses_observation(self, step):
                return 0

        return Number(self.max_tilt)


class LooserThanItself(Tilt):
    def looser_keys(self, weakest):
        return ("max_tilt",)


class OfAnotherGuard(Tilt):
    @classmethod
    def default(cls):
        return GUARDS.find("shape").default()


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        (Unbounded, "a bound of `max_tilt`, found that 1e\\+30 is allowed"),
        (Forgetful, "step 0 in the episode after a refusal to pass, found it refused"),
        (Blind, "a refusal within 1000 steps of example_refused"),
        (Nervous, "step 0 at the start to pass, found it refused"),
        (Fragile, "refuses_observation to raise nothing, found ZeroDivisionError"),
        (Clockless, "arm to raise nothing, found TypeError"),
        (Judgeless, "refuses_observation or refuses_action, found neither"),
        (Truthy, "a bool, found 0"),
        (LooserThanItself, "no setting looser than itself"),
        (OfAnotherGuard, r"default\(\) of the same guard, found Shape"),
    ],
)
def test_a_guard_that_breaks_a_rule_is_named(guard, said):
    with pytest.raises(ContractError, match=f"guard 'tilt' breaks the contract of a guard: expected {said}"):
        check_guard(guard)
