"""An observation by terms, packed or flat is the same observation; another one is none."""

import numpy as np
import pytest
from bundle_factories import make_spec, term_tree

from sacpipe.robot.observation import ReceivedObservation

NUMBERS = [term_tree("position", 2), term_tree("contact"), term_tree("force", 1, 2, groups=["policy"])]
SPEC = make_spec(observation=[*NUMBERS, term_tree("mass", 1, groups=["critic"])])
POLICY_SPEC = SPEC.policy_spec
IMAGE_SPEC = make_spec(observation=[*NUMBERS, term_tree("camera", 2, 2, 3, dtype="uint8")])
CAMERA = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def arrays(**changes):
    terms = {
        "position": np.float32([1, 2]),
        "contact": np.array(3.0, np.float32),
        "force": np.float32([[4, 5]]),
    }
    return terms | changes


def receive(spec, given):
    """The observation that was copied; None where nothing was."""
    observation = spec.layout.empty()
    is_copied = ReceivedObservation(spec, observation).copy_from(given)
    return observation if is_copied else None


def test_terms_are_each_in_their_place():
    found = receive(POLICY_SPEC, arrays())
    assert found.equals(POLICY_SPEC.layout.pack(arrays()))
    assert found.vector.tolist() == [4, 5, 1, 2, 3]  # what the policy alone sees is first


def test_a_flat_vector_has_the_order_of_the_specification():
    found = receive(POLICY_SPEC, np.float32([1, 2, 3, 4, 5]))
    assert found.equals(POLICY_SPEC.layout.pack(arrays()))


def test_a_packed_observation_is_copied():
    packed = POLICY_SPEC.layout.pack(arrays())
    found = receive(POLICY_SPEC, packed)
    packed.vector.fill(9.0)
    assert found.equals(POLICY_SPEC.layout.pack(arrays()))


def test_what_only_the_critics_see_is_not_read():
    packed = SPEC.layout.pack(arrays(mass=np.float32([6])))
    assert receive(POLICY_SPEC, packed).equals(POLICY_SPEC.layout.pack(arrays()))


def test_an_image_is_copied():
    terms = arrays(camera=CAMERA.copy())
    for given in (terms, IMAGE_SPEC.layout.pack(terms)):
        found = receive(IMAGE_SPEC, given)
        assert found["camera"].tolist() == CAMERA.tolist()
        assert found.images["camera"] is not CAMERA


@pytest.mark.parametrize(
    "given",
    [
        np.float32([1, 2, 3, 4]),
        np.float32([[1, 2, 3, 4, 5]]),
        np.float64([1, 2, 3, 4, 5]),
        {},
        {"position": np.float32([1, 2])},
        arrays(mass=np.float32([6])),
        arrays(position=np.float32([1])),
        arrays(position=np.float64([1, 2])),
        arrays(position=np.float32([1, 2]).astype(">f4")),
        arrays(position=[1.0, 2.0]),
        POLICY_SPEC.layout.empty(1),
        IMAGE_SPEC.layout.empty(),
        None,
        "no",
        7,
        [np.float32([1, 2])],
    ],
)
def test_another_observation_is_none(given):
    assert receive(POLICY_SPEC, given) is None


@pytest.mark.parametrize(
    "camera", [None, CAMERA.astype(np.float32), CAMERA[:1], CAMERA.reshape(12), CAMERA.astype(np.int8)]
)
def test_another_image_is_none(camera):
    assert receive(IMAGE_SPEC, arrays(camera=camera)) is None
    assert receive(IMAGE_SPEC, np.zeros(5 + 12, np.float32)) is None
