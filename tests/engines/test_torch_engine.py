"""The update by hand against the update by autograd, from one state, to a few roundings of float32."""

import numpy as np
import pytest
from bundle_factories import make_spec, term_tree
from factories import make_algorithm
from learning import SPEC, furthest, make_batch, make_learner

from sacpipe.algorithms.sac import SAC
from sacpipe.core.errors import ConfigError, DivergenceError
from sacpipe.engines import ENGINES
from sacpipe.engines.torch_engine import TorchConfig

ASYMMETRIC = make_spec(
    observation=[
        term_tree("mass", 2, groups=["critic"]),
        term_tree("state", 3),
        term_tree("load", groups=["policy"]),
    ]
)


def attach(learner, precision="float32"):
    return TorchConfig(name="torch", num_threads=1, matmul_precision=precision).attach(learner).update


def mlp(*hidden_dims):
    return {"network": {"name": "mlp", "hidden_dims": list(hidden_dims)}}


VARIANTS = [
    {},
    {"num_critics": 3, "actor_q": "mean", "normalise_observations": True, **mlp(9, 5, 7)},
    {"num_critics": 1, "temperature": {"mode": "fixed", "value": 0.3}, **mlp(32)},
    {"log_std_min": -0.1, "log_std_max": 0.1, "target_update_interval": 2, **mlp(16, 4)},
    {
        "temperature": {
            "mode": "automatic",
            "initial": 0.1,
            "learning_rate": 1e-2,
            "objective": "temperature",
            "target_entropy_per_dimension": -0.5,
        }
    },
    {
        "adam": {
            "betas": [0.5, 0.9],
            "epsilon": 1e-6,
            "weight_decay": 0.1,
            "schedule": {"name": "linear", "final": 0.1, "steps": 1001},
        }
    },
    {"spec": ASYMMETRIC, "normalise_observations": True},
    {"spec": ASYMMETRIC, "normalise_observations": ["mass", "load"], **mlp(7, 3)},
]
LENGTHS = [(0, 16), pytest.param(1000, 16, marks=pytest.mark.slow), (3, 13)]
"""Updates before the compared one, and rows of a batch. A thousand updates of every variant take seconds."""


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("updates_before", [0, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_update_by_hand_is_the_update_by_autograd(changes, updates_before):
    spec = changes.get("spec", SPEC)
    fast, reference = make_learner(seed=6, **changes), make_learner(seed=5, **changes)
    update = attach(fast)
    for step in range(updates_before):
        fast.observe(make_batch(step % 7, spec=spec).observations.rows(step % 16))
        update(make_batch(step % 7, spec=spec))
    reference.load_state(fast.state())
    for step in range(3):
        update(make_batch(step + 20, spec=spec))
        reference.update(make_batch(step + 20, spec=spec))
    assert furthest(fast.state(), reference.state()) < 2e-5
    assert fast.gradient_steps == reference.gradient_steps == updates_before + 3
    found, expected = fast.diagnostics(), reference.diagnostics()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_bfloat16_products_are_the_same_update_to_three_digits():
    """bfloat16 keeps 8 bits: one step's gradients are a few parts in a hundred off, and not equal."""
    rough, reference = make_learner(), make_learner()
    attach(rough, "bfloat16")(make_batch())
    reference.update(make_batch())
    moments = {name: value for name, value in reference.state().items() if name.endswith("mean")}
    found = rough.state()
    assert 1e-5 < furthest(moments, found) < 0.05
    assert {value.dtype for value in found.values()} == {value.dtype for value in reference.state().values()}


def test_the_comparison_sees_a_wrong_derivative():
    """Discounts a thousandth off move the states further apart than the test above allows."""
    fast, reference, batch = make_learner(), make_learner(), make_batch()
    attach(fast)(batch)
    batch.discounts[:] *= np.float32(0.999)
    reference.update(batch)
    assert furthest(fast.state(), reference.state()) > 1e-4


def test_another_batch_size_is_taken_as_it_comes():
    first, second = make_learner(), make_learner()
    update = attach(first)
    for size in (16, 5, 16):
        update(make_batch(size=size))
        second.update(make_batch(size=size))
    assert furthest(first.state(), second.state()) < 2e-5


def test_attaching_changes_no_value_and_the_state_is_of_one_form():
    learner, plain = make_learner(), make_learner()
    observation = make_batch().observations.rows(0)
    learner.act(observation, None)
    attach(learner)
    before, state = plain.state(), learner.state()
    assert list(before) == list(state)
    assert all(np.array_equal(before[name], state[name]) for name in before)
    learner.update(make_batch())
    plain.update(make_batch())
    np.testing.assert_array_equal(learner.act(observation, None), plain.act(observation, None))


def test_acting_and_loading_follow_the_packed_tensors():
    learner, other = make_learner(), make_learner(seed=3)
    update, observation = attach(learner), make_batch().observations.rows(0)
    for step in range(3):
        before = learner.act(observation, None)
        update(make_batch(step))
        assert not np.array_equal(before, learner.act(observation, None))
    go_on = attach(other)
    other.load_state(learner.state())
    np.testing.assert_array_equal(other.act(observation, None), learner.act(observation, None))
    update(make_batch(9))
    go_on(make_batch(9))
    a, b = learner.state(), other.state()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_divergence_names_the_loss_and_keeps_the_parameters():
    learner, untouched, batch = make_learner(), make_learner(), make_batch()
    batch.rewards[3] = np.float32("nan")
    with pytest.raises(DivergenceError, match=r"critic error .* is nan at gradient step 1") as caught:
        attach(learner)(batch)
    assert caught.value.row == 3
    a, b = learner.state(), untouched.state()
    assert all(np.array_equal(a[name], b[name]) for name in a if name != "noise")


IMAGE = make_spec(observation=[term_tree("state", 3), term_tree("camera", 9, 9, 1, dtype="uint8")])


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("td3", {}, "engine.name: 'torch' can update SAC only, found TD3. Use `autograd`"),
        (
            "sac",
            {"spec": IMAGE, "network": {"name": "conv", "channels": [2], "hidden_dims": [4]}},
            "engine.name: 'torch' can train the trunk `mlp` only, found 'conv'",
        ),
    ],
)
def test_a_learner_without_an_update_by_hand_is_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        attach(make_learner(name, **changes))


def test_a_subclass_with_an_update_of_its_own_is_refused():
    class Mine(SAC):
        def update(self, batch):
            pass

    with pytest.raises(ConfigError, match="found Mine"):
        attach(Mine(make_algorithm(), SPEC, 0))


def test_autograd_is_the_learners_own_update():
    learner = make_learner("td3")
    assert ENGINES.find("autograd")(name="autograd", num_threads=1).attach(learner) is learner
