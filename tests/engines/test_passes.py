"""Passes by hand against autograd, and against numbers worked out on paper."""

import pytest
import torch

from sacpipe.engines.passes import BackwardPass, ForwardPass, pack_parameters
from sacpipe.networks.inputs import Inputs
from sacpipe.networks.mlp import StackedMLP
from sacpipe.networks.network import Network
from sacpipe.networks.trunks.mlp import MLPTrunk

SHAPES = [(1, 3, (8,), 2), (2, 3, (8, 8), 1), (3, 5, (4, 9, 6), 4), (2, 1, (1,), 1)]


def make_stack(num, in_dim, hidden_dims, out_dim, seed=0):
    network = Network(MLPTrunk(StackedMLP(num, in_dim, hidden_dims), num), out_dim)
    network.reset(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for layer in linears(network):
            layer.bias.normal_(generator=torch.Generator().manual_seed(seed + 1))
    return network


def linears(network):
    return [*network.trunk.mlp.linears, network.head]


def evaluate(network, inputs):
    return network(Inputs(inputs, ()), None, network.trunk.num)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_forward_by_hand():
    """relu(2 x 3 + 1) = 7 and relu(2 x -3 + 1) = 0; 7 x 10 + 0 x 5 - 4 = 66."""
    network = make_stack(1, 1, (2,), 1)
    with torch.no_grad():
        first, last = linears(network)
        first.weight.copy_(torch.tensor([[[3.0, -3.0]]]))
        first.bias.copy_(torch.tensor([[[1.0, 1.0]]]))
        last.weight.copy_(torch.tensor([[[10.0], [5.0]]]))
        last.bias.fill_(-4.0)
    forward = ForwardPass(pack_parameters([network]), rows=1)
    forward.inputs.fill_(2.0)
    assert forward.run().item() == 66.0
    backward = BackwardPass(forward, members=1, rows=1)
    backward.output.fill_(1.0)
    with torch.no_grad():
        backward.run()
    assert [gradient.flatten().tolist() for gradient in backward.gradients] == [
        [20.0, 0.0, 10.0, 0.0],  # dW = 2 x 10 where the ReLU let it through; its bias below
        [7.0, 0.0],
        [1.0],
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_autograds(shape):
    network = make_stack(*shape)
    inputs, weights = normal(7, shape[1]), normal(shape[0], 7, shape[3], seed=3)
    output = evaluate(network, inputs)
    expected = torch.autograd.grad((output * weights).sum(), list(network.parameters()))
    forward = ForwardPass(pack_parameters([network]), rows=7)
    forward.inputs[:] = inputs
    with torch.no_grad():
        torch.testing.assert_close(forward.run(), output.detach())
        backward = BackwardPass(forward, members=shape[0], rows=7)
        backward.output.copy_(weights)
        backward.run()
    first = torch.cat([expected[0], expected[1]], dim=1)
    for mine, its in zip(backward.gradients, [first, *expected[2:]], strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1] > 1])
def test_the_gradient_at_input_columns_is_autograds(shape):
    network = make_stack(*shape)
    inputs, weights = normal(7, shape[1]).requires_grad_(), normal(shape[0], 7, shape[3], seed=3)
    (expected,) = torch.autograd.grad((evaluate(network, inputs) * weights).sum(), inputs)
    forward = ForwardPass(pack_parameters([network]), rows=7)
    with torch.no_grad():
        forward.inputs[:] = inputs
        forward.run()
        backward = BackwardPass(forward, members=shape[0], rows=7, columns=slice(1, None))
        backward.output.copy_(weights)
        backward.run()
    torch.testing.assert_close(backward.input.sum(dim=0), expected[:, 1:])
    assert backward.gradients == []


def test_each_member_sees_its_own_input_and_only_the_first_members_get_gradients():
    """Critics and their targets as one stack: the same as each alone."""
    online, slow = make_stack(2, 3, (8, 8), 1, seed=1), make_stack(2, 3, (8, 8), 1, seed=2)
    here, there = normal(5, 3, seed=4), normal(5, 3, seed=5)
    expected = torch.cat([evaluate(online, here), evaluate(slow, there)]).detach()
    gradients = torch.autograd.grad(evaluate(online, here).sum(), list(online.parameters()))
    forward = ForwardPass(pack_parameters([online, slow]), rows=5)
    forward.inputs[:2], forward.inputs[2:] = here, there
    with torch.no_grad():
        torch.testing.assert_close(forward.run(), expected)
        backward = BackwardPass(forward, members=2, rows=5)
        backward.output.fill_(1.0)
        backward.run()
    torch.testing.assert_close(backward.gradients[1], gradients[2])
    torch.testing.assert_close(backward.gradients[0][:, -1:], gradients[1])


def test_only_the_first_rows_get_gradients():
    network = make_stack(1, 3, (8,), 2)
    inputs = normal(6, 3)
    expected = torch.autograd.grad(evaluate(network, inputs[:4]).sum(), list(network.parameters()))
    forward = ForwardPass(pack_parameters([network]), rows=6)
    with torch.no_grad():
        forward.inputs[:] = inputs
        forward.run()
        backward = BackwardPass(forward, members=1, rows=4)
        backward.output.fill_(1.0)
        backward.run()
    torch.testing.assert_close(backward.gradients[1], expected[2])


def test_packing_changes_no_value_and_shares_memory():
    one, two = make_stack(2, 3, (8,), 1, seed=1), make_stack(2, 3, (8,), 1, seed=2)
    before = [parameter.detach().clone() for parameter in (*one.parameters(), *two.parameters())]
    packed = pack_parameters([one, two])
    for parameter, value in zip((*one.parameters(), *two.parameters()), before, strict=True):
        assert torch.equal(parameter, value)
    for tensor in packed:
        tensor.zero_()
    assert not any(parameter.any() for parameter in (*one.parameters(), *two.parameters()))
