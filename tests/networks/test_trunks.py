"""Stacks of trunks: each member is a trunk of its own, and the first members alone are the same."""

import numpy as np
import pytest
import torch
from bundle_factories import make_spec, term_tree

from sacpipe.core.errors import ConfigError
from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.network import Network
from sacpipe.networks.trunks import TRUNKS
from sacpipe.specs.budget import Budget
from sacpipe.testing.learner_tasks import draw_observations

SPEC = make_spec(
    observation=[
        term_tree("front", 9, 11, 3, dtype="uint8"),
        term_tree("state", 3),
        term_tree("back", 8, 8, 1, dtype="uint8"),
    ]
)
VECTOR = make_spec(3)
CONFIGS = [
    ({"name": "mlp", "hidden_dims": [7, 5]}, VECTOR),
    ({"name": "layer_norm_mlp", "hidden_dims": [7, 5]}, VECTOR),
    ({"name": "conv", "channels": [3, 4], "hidden_dims": [6]}, SPEC),
]
EMPTY = [
    ({"name": "layer_norm_mlp", "hidden_dims": []}, VECTOR),
    ({"name": "mlp", "hidden_dims": []}, VECTOR),
    ({"name": "conv", "channels": [2], "hidden_dims": []}, SPEC),
]


def make_network(tree, spec, num, seed=0, group="critic"):
    config = TRUNKS.find(tree["name"]).parse(tree)
    network = Network(config.build(GroupInputs(spec, group), extra_dim=2, num=num), 2)
    network.reset(torch.Generator().manual_seed(seed))
    return network


def inputs_of(spec, count=5):
    inputs = GroupInputs(spec, "critic").of(draw_observations(spec, 3, count))
    return inputs, torch.linspace(-1.0, 1.0, 2 * count).reshape(count, 2)


@pytest.mark.parametrize(("tree", "spec"), CONFIGS + EMPTY)
def test_every_member_is_a_network_of_its_own(tree, spec):
    stack, (inputs, actions) = make_network(tree, spec, 3), inputs_of(spec)
    single = make_network(tree, spec, 1, seed=1)
    with torch.no_grad():
        together = stack(inputs, actions, 3)
        for member in range(3):
            for mine, its in zip(single.parameters(), stack.parameters(), strict=True):
                mine.copy_(its[member : member + 1])
            torch.testing.assert_close(single(inputs, actions), together[member])


@pytest.mark.parametrize(("tree", "spec"), CONFIGS + EMPTY)
def test_the_first_members_alone_are_the_same(tree, spec):
    stack, (inputs, actions) = make_network(tree, spec, 3), inputs_of(spec)
    with torch.no_grad():
        together = stack(inputs, actions, 3)
        torch.testing.assert_close(stack(inputs, actions, 2), together[:2])
        torch.testing.assert_close(stack(inputs, actions), together[0])


@pytest.mark.parametrize(("tree", "spec"), CONFIGS)
def test_one_seed_draws_the_same_parameters(tree, spec):
    first, second, other = (make_network(tree, spec, 2, seed=seed) for seed in (1, 1, 2))
    pairs = list(zip(first.parameters(), second.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(one, same) for one, same, _ in pairs)
    assert not any(torch.equal(one, another) for one, _, another in pairs if len(one.unique()) > 1)


def test_a_layer_is_normalised_by_hand():
    """Outputs (1, 3, 8): mean 4, variance 26 / 3; times (1, 2, -1) plus (0, 10, 0), then the ReLU."""
    config = TRUNKS.find("layer_norm_mlp").parse({"name": "layer_norm_mlp", "hidden_dims": [3]})
    trunk = config.build(GroupInputs(make_spec(1), "policy"), extra_dim=0, num=1)
    with torch.no_grad():
        trunk.layers[0].weight.zero_()
        trunk.layers[0].bias[0, 0] = torch.tensor([1.0, 3.0, 8.0])
        trunk.norms[0].weight[0, 0] = torch.tensor([1.0, 2.0, -1.0])
        trunk.norms[0].bias[0, 0] = torch.tensor([0.0, 10.0, 5.0])
    unit = (26.0 / 3.0 + 1e-5) ** -0.5
    expected = torch.tensor([0.0, 10.0 - 2.0 * unit, 5.0 - 4.0 * unit])
    vector = torch.zeros(1)
    found = trunk(Inputs(vector[None], ()))
    torch.testing.assert_close(found[0].detach(), expected)
    torch.testing.assert_close(torch.from_numpy(trunk.single(vector.numpy(), ())), expected)


@pytest.mark.parametrize("tree", [{"name": "mlp"}, {"name": "layer_norm_mlp"}])
def test_one_observation_by_numpy_is_a_row_of_a_batch(tree):
    network = make_network(tree | {"hidden_dims": [7, 5]}, make_spec(5), 2)
    inputs = Inputs(torch.linspace(-2.0, 2.0, 40).reshape(8, 5), ())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.linspace(-1.0, 1.0, parameter[0].numel()).reshape(parameter[0].shape))
        batch = network(inputs, torch.zeros(8, 2))
    for row in range(8):
        vector = np.concatenate([inputs.vector[row].numpy(), np.zeros(2, dtype=np.float32)])
        torch.testing.assert_close(torch.from_numpy(network.single(vector, ())), batch[row])


def test_an_image_is_scaled_to_one_and_convolved_by_hand():
    """One 3 x 3 image of 255 with kernel weights 1/9: the mean, 1; with a bias of 0.5: 1.5."""
    spec = make_spec(observation=[term_tree("camera", 3, 3, 1, dtype="uint8")])
    config = TRUNKS.find("conv").parse({"name": "conv", "channels": [1], "hidden_dims": []})
    trunk = config.build(GroupInputs(spec, "policy"), extra_dim=0, num=1)
    with torch.no_grad():
        trunk.encoders[0].layers[0].weight.fill_(1.0 / 9.0)
        trunk.encoders[0].layers[0].bias.fill_(0.5)
        observations = draw_observations(spec, 0, 1)
        observations["camera"][...] = 255
        found = trunk(GroupInputs(spec, "policy").of(observations))
    assert found.item() == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("tree", "spec", "message"),
    [
        (
            {"name": "mlp", "hidden_dims": [4]},
            SPEC,
            "'mlp' takes no images, found the terms front, back. Use `conv`",
        ),
        (
            {"name": "conv", "channels": [4], "hidden_dims": []},
            VECTOR,
            "'conv' needs an image .* 'policy', found none",
        ),
        (
            {"name": "conv", "channels": [4] * 4, "hidden_dims": []},
            SPEC,
            "'front' of 9 x 11 pixels is too small for 4",
        ),
    ],
)
def test_inputs_that_a_trunk_cannot_take_are_refused(tree, spec, message):
    with pytest.raises(ConfigError, match=message):
        make_network(tree, spec, 1, group="policy")


@pytest.mark.parametrize(("size", "channels"), [(3, [16]), (6, [16]), (7, [16, 32]), (64, [16, 32, 32])])
def test_a_new_params_file_has_as_many_convolutions_as_the_image_takes(size, channels):
    spec = make_spec(observation=[term_tree("camera", size, size, 3, dtype="uint8")])
    assert TRUNKS.find("conv").preset(spec, Budget(total_steps=1000))["channels"] == channels


def test_an_image_below_one_convolution_is_refused_by_name():
    spec = make_spec(observation=[term_tree("camera", 64, 2, 3, dtype="uint8")])
    with pytest.raises(
        ConfigError, match=r"'conv' needs images of 3 x 3 .* found 'camera' of 64 x 2\. Enlarge"
    ):
        TRUNKS.find("conv").preset(spec, Budget(total_steps=1000))
