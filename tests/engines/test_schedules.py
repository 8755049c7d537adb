"""A learning-rate schedule holds in every engine: at a rate of 0 nothing is learned, and the rate follows steps."""

import numpy as np
import pytest
from factories import make_algorithm
from learning import SPEC, make_batch

from sacpipe.engines import ENGINES

PAIRS = [
    ("sac", "autograd"),
    ("sac", "torch"),
    ("sac", "native"),
    ("td3", "autograd"),
    ("td3", "native"),
    ("tqc", "autograd"),
    ("tqc", "native"),
]
LEARNED = ("actor/", "critic/", "log_temperature")
ADAM = {"betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.0}


def attached(algorithm, engine, schedule):
    learner = make_algorithm(algorithm, adam=ADAM | {"schedule": schedule}).build(SPEC, 0)
    kind = ENGINES.find(engine)
    return kind.parse(kind.preset(None, None)).attach(learner)


def learned(learner):
    return {name: array for name, array in learner.state().items() if name.startswith(LEARNED)}


@pytest.mark.parametrize(("algorithm", "engine"), PAIRS)
def test_at_the_end_of_a_schedule_to_nothing_nothing_is_learned(algorithm, engine):
    """In 4 steps from 1 to 0: steps 0 to 3 move the parameters, later ones none, and the slow copies still follow."""
    learner = attached(algorithm, engine, {"name": "linear", "final": 0.0, "steps": 4})
    before = learned(learner)
    for step in range(4):
        learner.update(make_batch(step))
    after = learned(learner)
    assert [name for name in before if np.array_equal(before[name], after[name])] == []
    slow = {name: array for name, array in learner.state().items() if name.startswith("target_critic/")}
    for step in range(4, 8):
        learner.update(make_batch(step))
    for name, array in learned(learner).items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)
    state = learner.state()
    assert all(not np.array_equal(state[name], array) for name, array in slow.items())


@pytest.mark.parametrize(("algorithm", "engine"), PAIRS)
def test_a_schedule_that_stays_at_its_start_is_constant(algorithm, engine):
    linear = attached(algorithm, engine, {"name": "linear", "final": 1.0, "steps": 3})
    constant = attached(algorithm, engine, {"name": "constant"})
    for step in range(5):
        linear.update(make_batch(step))
        constant.update(make_batch(step))
    for name, array in constant.state().items():
        np.testing.assert_array_equal(linear.state()[name], array, err_msg=name)
