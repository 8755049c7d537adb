"""Passes by hand against autograd, and against numbers worked out on paper."""

import numpy as np
import pytest
import torch

from sacpipe.networks.mlp import StackedMLP
from sacpipe.networks.passes import ForwardPass, InputGradient, ParameterGradient, pack, padded

SHAPES = [(3, (8,), 2), (3, (8, 8), 1), (5, (4, 9, 6), 4), (1, (1,), 1)]


def make_network(in_dim, hidden_dims, out_dim, seed=0, num=1):
    network = StackedMLP(num, in_dim, hidden_dims, out_dim)
    network.reset(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for layer in network.linears():
            layer.bias.normal_(generator=torch.Generator().manual_seed(seed + 1))
    return network


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_forward(network, inputs, member=0):
    buffer = padded(*inputs.shape)
    buffer[:, :-1] = inputs
    return ForwardPass(pack(network)[member], buffer)


def test_forward_and_backward_by_hand():
    """relu(2 x 3 + 1) = 7 and relu(2 x -3 + 1) = 0; 7 x 10 + 0 x 5 - 4 = 66."""
    network = StackedMLP(1, 1, (2,), 1)
    with torch.no_grad():
        first, last = network.linears()
        first.weight.copy_(torch.tensor([[[3.0, -3.0]]]))
        first.bias.copy_(torch.tensor([[[1.0, 1.0]]]))
        last.weight.copy_(torch.tensor([[[10.0], [5.0]]]))
        last.bias.fill_(-4.0)
    forward = make_forward(network, torch.tensor([[2.0]]))
    assert forward.run().item() == 66.0
    gradient = ParameterGradient(forward)
    gradient.output.fill_(1.0)
    gradient.run()
    assert [tensor.flatten().tolist() for tensor in gradient.gradients] == [
        [20.0, 0.0, 10.0, 0.0],  # dW = 2 x 10 where the ReLU let it through; its bias below
        [7.0, 0.0],
        [1.0],
    ]
    assert InputGradient(forward, slice(0, 1)).run(np.array([0])).item() == 30.0  # 10 x 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [slice(None), slice(0, 3), slice(3, 7)])
def test_gradients_are_autograds(shape, rows):
    network = make_network(*shape)
    inputs, weights = normal(7, shape[0]), normal(7, shape[2], seed=3)
    output = network(inputs)[0]
    expected = torch.autograd.grad((output * weights)[rows].sum(), list(network.parameters()))
    forward = make_forward(network, inputs)
    torch.testing.assert_close(forward.run(), output.detach())
    gradient = ParameterGradient(forward, rows)
    gradient.output.copy_(weights[rows])
    gradient.run()
    first = torch.cat([expected[0], expected[1]], dim=1)
    for mine, its in zip(gradient.gradients, [first, *expected[2:]], strict=True):
        torch.testing.assert_close(mine, its[0])


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[2] == 1])
@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4, 5, 6], [1, 4], [6]])
def test_the_gradient_at_input_columns_is_autograds(shape, chosen):
    network = make_network(*shape)
    inputs = normal(7, shape[0]).requires_grad_()
    (expected,) = torch.autograd.grad(network(inputs).sum(), inputs)
    forward = make_forward(network, inputs.detach())
    forward.run()
    found = InputGradient(forward, slice(shape[0] - 1, None)).run(np.array(chosen))
    torch.testing.assert_close(found, expected[chosen][:, shape[0] - 1 :])


def test_members_of_a_stack_are_apart():
    network = make_network(3, (8, 8), 1, num=2)
    inputs = normal(5, 3)
    expected = network(inputs).detach()
    for member in range(2):
        torch.testing.assert_close(make_forward(network, inputs, member).run(), expected[member])


def test_packing_changes_no_value_and_shares_memory():
    network = make_network(3, (8,), 1, num=2)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    packed = pack(network)
    for parameter, value in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
    assert all(tensor.is_contiguous() for member in packed for tensor in member)
    for member in packed:
        for tensor in member:
            tensor.zero_()
    assert not any(parameter.any() for parameter in network.parameters())
