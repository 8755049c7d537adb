"""The normaliser against NumPy, for all terms and for some."""

import numpy as np
import pytest
import torch
from bundle_factories import make_spec, term_tree

from sacpipe.core.errors import ConfigError
from sacpipe.networks.inputs import GroupInputs
from sacpipe.networks.normaliser import Normaliser, make_normaliser, normalised_names

SPEC = make_spec(
    observation=[
        term_tree("camera", 2, 2, 1, dtype="uint8"),
        term_tree("state", 2),
        term_tree("mass", groups=["critic"]),
        term_tree("load", groups=["policy"]),
    ]
)


def whole(dim):
    return Normaliser(np.ones(dim, dtype=np.bool_))


def test_normaliser_agrees_with_numpy():
    values = np.random.default_rng(2).normal(5.0, 3.0, (500, 4)).astype(np.float32)
    normaliser = whole(4)
    for value in values:
        normaliser.observe(value)
    expected = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(normaliser(torch.from_numpy(values)).numpy(), expected, atol=1e-4)


def test_fresh_normaliser_is_the_identity_and_a_constant_entry_stays_finite():
    normaliser = whole(2)
    values = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(normaliser(values), values)
    for _ in range(3):
        normaliser.observe(np.array([7.0, 7.0], dtype=np.float32))
    assert torch.isfinite(normaliser(torch.tensor([[7.0, 7.1]]))).all()


def test_other_entries_pass_unchanged():
    values = np.random.default_rng(2).normal(5.0, 300.0, (50, 3)).astype(np.float32)
    normaliser = Normaliser(np.array([True, False, True]))
    for value in values:
        normaliser.observe(value)
    found = normaliser(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(found[:, 1], values[:, 1])
    expected = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(found[:, [0, 2]], expected[:, [0, 2]], atol=1e-4)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [(True, ("state", "mass", "load")), (False, ()), (("load", "state"), ("state", "load")), ((), ())],
)
def test_names_are_those_of_float32_terms_in_the_order_of_the_task(choice, expected):
    assert normalised_names(SPEC, choice) == expected


@pytest.mark.parametrize("name", ["camera", "sate"])
def test_another_name_is_refused(name):
    with pytest.raises(
        ConfigError, match=rf"expected float32 terms of .*\(state, mass, load\), found '{name}'"
    ):
        normalised_names(SPEC, (name,))


def test_a_group_has_a_normaliser_if_it_has_a_named_term():
    policy, critic = GroupInputs(SPEC, "policy"), GroupInputs(SPEC, "critic")
    assert make_normaliser(policy, ("mass",)) is None
    assert make_normaliser(critic, ("mass",)).chosen.tolist() == [0.0, 0.0, 1.0]
    assert make_normaliser(policy, ("load",)).chosen.tolist() == [1.0, 0.0, 0.0]
