"""A small bundle made by hand, so that these tests need no torch: action = clip(gain * (x0 - x1 + 1))."""

import pytest
from bundle_factories import make_bundle, make_onnx, make_spec, term_tree

GOLDEN_OBSERVATIONS = [[0.5, 0.25, 0.0], [3.0, 1.0, 0.0], [0.0, 9.0, 2.0]]
GOLDEN_ACTIONS = [[1.25, 2.5], [3.0, 4.0], [-2.0, -4.0]]
SPEC = make_spec(
    observation=[
        term_tree("position", 2, source="joint encoders"),
        term_tree("velocity", 1, unit="m/s", source="tachometer"),
    ],
    action=[
        {"name": "shoulder", "unit": "N m", "low": -2.0, "high": 3.0},
        {"name": "elbow", "unit": "N m", "low": -4.0, "high": 4.0},
    ],
    max_episode_steps=None,
)


def make_model(weight=((1, 2), (-1, -2), (0, 0)), bias=(1, 2), **names):
    """Three observations, of which the last is ignored, to [-2, 3] and [-4, 4]."""
    terms = {"position": 2, "velocity": 1}
    return make_onnx(weight, bias=bias, low=(-2, -4), high=(3, 4), **{"terms": terms} | names)


def write_model(folder, model, actions=GOLDEN_ACTIONS):
    return make_bundle(folder, model, SPEC, GOLDEN_OBSERVATIONS, actions)


def write_other(folder):
    model = make_model(weight=((-1, -2), (1, 2), (0, 0)), bias=(-1, -2))
    return write_model(folder, model, [[-1.25, -2.5], [-2.0, -4.0], [3.0, 4.0]])


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def build(tmp_path):
    """Write a bundle of a model and golden actions, and return its folder."""

    def write(model=None, actions=GOLDEN_ACTIONS, **names):
        return write_model(tmp_path / "bundle", model or make_model(**names), actions)

    return write


@pytest.fixture
def build_other(tmp_path):
    """A bundle of the same task that acts the other way round, in a folder of its own."""
    return write_other(tmp_path / "other")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Both bundles once for many tests, which leave them as they are."""
    folder = tmp_path_factory.mktemp("bundles")
    return write_model(folder / "bundle", make_model()), write_other(folder / "other")
