"""Batches and learners for the tests of algorithms and engines."""

import numpy as np
from factories import make_algorithm, make_spec

from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch

SPEC = make_spec(3, [(-2.0, 2.0)] * 2)


def make_learner(name="sac", seed=0, spec=SPEC, **changes):
    return make_algorithm(name, **changes).build(spec, seed)


def make_batch(seed=0, size=16, spec=SPEC):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    def observations():
        return Observation(spec.layout, normal(size, spec.observation_dim), {})

    actions, rewards = np.tanh(normal(size, 2)), normal(size)
    discounts = np.where(rng.random(size) < 0.2, np.float32(0.0), np.float32(0.99))
    return Batch(observations(), actions, rewards, observations(), discounts)


def states_equal(first, second):
    a, b = first.state(), second.state()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def furthest(one, two):
    """Largest difference of two states, each array measured by its largest entry.

    A mean of Adam passes zero now and then, so it is measured by the gradients that it is a mean of.
    """
    names = [name for name in one if one[name].dtype == np.float32]
    return max(float(np.abs(one[name] - two[name]).max() / scale(two, name)) for name in names)


def scale(state, name):
    square = state.get(f"{name.removesuffix('mean')}square") if name.endswith("/mean") else None
    return max(1e-3, np.abs(state[name]).max(), 0.0 if square is None else np.sqrt(square.max()))


def without_noise(learner):
    return {name: value for name, value in learner.state().items() if name != "noise"}
