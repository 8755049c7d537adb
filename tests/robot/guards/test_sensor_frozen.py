"""A term that stands still for too long is refused: numbers and images, each with a limit of its own."""

import numpy as np
import pytest
from bundle_factories import make_spec, term_tree

from sacpipe.robot.guards.guard import StepFacts
from sacpipe.robot.guards.sensor_frozen import SensorFrozen
from sacpipe.testing.guard_contract import example_contract

TERMS = [term_tree("joints", 2), term_tree("goal", 1), term_tree("camera", 2, 2, 3, dtype="uint8")]
SPEC = make_spec(observation=TERMS)
ALL = tuple(term.name for term in SPEC.observation)


class Sensors:
    """Steps in which the named terms change, and all others keep their value."""

    def __init__(self, longest_constant=None, **config):
        runs = dict.fromkeys(ALL, 1) | (longest_constant or {})
        guard = SensorFrozen(name="sensor_frozen", fallback="stop", **{"terms": None} | config)
        contract = example_contract(SPEC, (guard,))
        envelope = contract.envelope.model_copy(update={"longest_constant": runs})
        contract = contract.model_copy(update={"envelope": envelope})
        self.armed = guard.arm(contract, None)
        self.facts = StepFacts(SPEC, lambda: 0)
        self.number = 0

    def step(self, *changing):
        self.number += 1
        for name in changing:
            self.facts.observation[name][...] = self.number
        return self.armed.refuses_observation(self.facts)

    def steps(self, count, *changing):
        return [self.step(*changing) for _ in range(count)]


@pytest.mark.parametrize("name", ALL)
def test_more_repeats_than_are_allowed(name):
    sensors = Sensors(max_repeats=2)
    others = [other for other in ALL if other != name]
    assert sensors.steps(5, *others) == [False, False, False, True, True]
    assert not sensors.step(*ALL)
    assert sensors.steps(3, *others) == [False, False, True]


def test_no_repeat_at_all():
    assert Sensors(max_repeats=0).steps(2, "goal", "camera") == [False, True]


def test_one_entry_that_changes_is_a_change():
    sensors = Sensors(max_repeats=0, terms=("joints",))
    sensors.step(*ALL)
    for number in range(3):
        sensors.facts.observation["joints"][number % 2] += 1.0
        assert not sensors.step()


@pytest.mark.parametrize("name", ["goal", "camera"])
def test_a_longer_run_in_training_is_allowed(name):
    """Four equal observations in training are three repeats."""
    sensors = Sensors({name: 4}, max_repeats=1)
    others = [other for other in ALL if other != name]
    assert sensors.steps(5, *others) == [False, False, False, False, True]
    assert Sensors({name: 4}, max_repeats=3).steps(5, *others)[-2:] == [False, True]
    assert Sensors({name: 3}, max_repeats=3).steps(5, *others)[-2:] == [False, True]


@pytest.mark.parametrize("name", ALL)
def test_a_term_that_is_not_listed_may_stand_still(name):
    listed = tuple(other for other in ALL if other != name)
    assert not any(Sensors(max_repeats=0, terms=listed).steps(20, *listed))


def test_an_episode_begins_with_all_its_repeats():
    sensors = Sensors(max_repeats=1)
    assert sensors.steps(3) == [False, False, True]
    sensors.armed.begin_episode()
    assert sensors.steps(3) == [False, False, True]


def test_terms_that_do_not_exist_do_not_fit_the_task():
    config = SensorFrozen(name="sensor_frozen", fallback="stop", max_repeats=1, terms=("force",))
    with pytest.raises(ValueError, match="expected names among joints, goal, camera, found 'force'"):
        config.check_task(SPEC)
    config.replace(terms=["goal"]).check_task(SPEC)
    config.replace(terms=None).check_task(SPEC)


def test_fewer_terms_and_more_repeats_are_looser():
    weakest = SensorFrozen(name="sensor_frozen", fallback="stop", max_repeats=5, terms=("joints", "goal"))
    for changes, looser in (
        ({}, ()),
        ({"terms": None}, ()),
        ({"terms": ["joints", "goal", "camera"]}, ()),
        ({"terms": ["joints"]}, ("terms",)),
        ({"max_repeats": 4}, ()),
        ({"max_repeats": 6}, ("max_repeats",)),
        ({"max_repeats": 6, "terms": ["goal"]}, ("max_repeats", "terms")),
    ):
        assert weakest.replace(**changes).looser_keys(weakest) == looser
    every = weakest.replace(terms=None)
    assert weakest.looser_keys(every) == ("terms",)
    assert np.all([not every.looser_keys(other) for other in (weakest, every)])
