"""Forward and backward passes of stacked perceptrons by hand, in memory taken once.

Autograd spends as much on small networks as their arithmetic: it allocates every intermediate (and
pages of a fresh block are faulted in one by one), records a graph and walks it. Here every buffer and
every view is made once, and a pass is a row of calls that write into them.

The equations are the chain rule for h_i = relu(h_{i-1} W_i + b_i), the last layer linear:

    dW_i = h_{i-1}^T d_i      db_i = sum over rows of d_i      d_{i-1} = (d_i W_i^T) where h_{i-1} > 0

The first layer's bias is the last row of its matrix, and its input ends in a column of ones: a thin
product costs the same with one more column, a bias of its own costs two passes over the result.

With bfloat16 only the products are of that type: parameters, what comes in and what goes out stay
float32, and rounded copies of the weights are made at every forward pass.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from sacpipe.networks.mlp import StackedMLP

_keep_positive = torch.ops.aten.threshold_backward.grad_input

Call = Callable[[], Any]
Packed = list[torch.Tensor]
"""First matrix with its bias as last row (num, in_dim + 1, out_dim); then weight, bias, weight, bias, ..."""


def pack(networks: Sequence[StackedMLP]) -> Packed:
    """Move the parameters of networks of one shape into common memory, members one after the other.

    The networks keep working; whoever writes to the packed tensors writes to them.
    """
    packed: Packed = []
    for index, layers in enumerate(zip(*(network.linears() for network in networks), strict=True)):
        weight = torch.cat([layer.weight.detach() for layer in layers])
        bias = torch.cat([layer.bias.detach() for layer in layers])
        if index == 0:
            first = torch.cat([weight, bias], dim=1)
            weight, bias = first[:, :-1], first[:, -1:]
            packed.append(first)
        else:
            packed += [weight, bias]
        member = 0
        for layer in layers:
            num = len(layer.weight)
            layer.weight.data = weight[member : member + num]
            layer.bias.data = bias[member : member + num]
            member += num
    return packed


class ForwardPass:
    """Evaluates a stack of perceptrons on fixed buffers.

    Args:
        packed: Parameters; only ever changed in place.
        rows: Of each member's input.
        dtype: Of the products: float32 or bfloat16.
    """

    def __init__(self, packed: Packed, *, rows: int, dtype: torch.dtype = torch.float32) -> None:
        num, in_dim, _ = packed[0].shape
        self.dtype = dtype
        given = torch.ones(num, rows, in_dim)
        self.inputs = given[:, :, :-1]
        """What each member is to evaluate; the caller fills it. float32, shape (num, rows, in_dim)."""
        self._rounded: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.padded_inputs = self._as_operand(given)
        self.weights = [self._as_operand(weight) for weight in (packed[0], *packed[1::2])]
        self.biases = [self._as_operand(bias) for bias in packed[2::2]]
        self.activations = [torch.zeros(num, rows, weight.shape[2], dtype=dtype) for weight in self.weights]
        """Of every layer, after its ReLU. The last is the output, shape (num, rows, out_dim)."""
        self.output = self.activations[-1].float()
        """float32."""
        self._calls: list[Call] = [partial(rounded.copy_, exact) for rounded, exact in self._rounded]
        self._calls += _products(self.padded_inputs, self.weights[0], self.activations[0])
        for index, bias in enumerate(self.biases):
            hidden, out = self.activations[index], self.activations[index + 1]
            self._calls.append(hidden.relu_)
            self._calls += _products(hidden, self.weights[index + 1], out)
            self._calls.append(partial(out.add_, bias))
        if self._rounded:
            self._calls.append(partial(self.output.copy_, self.activations[-1]))

    def _as_operand(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return what the products read: the tensor itself, or a copy that every run rounds again."""
        if self.dtype == tensor.dtype:
            return tensor
        self._rounded.append((torch.zeros_like(tensor, dtype=self.dtype), tensor))
        return self._rounded[-1][0]

    def run(self) -> torch.Tensor:
        """Evaluate `inputs` and return `output`."""
        for call in self._calls:
            call()
        return self.output


class BackwardPass:
    """Takes a gradient from the output back through the rows and members that a forward pass evaluated.

    Args:
        forward: The pass whose activations are used.
        members: First members of the stack that have a gradient; the others are constants.
        rows: First rows that have one.
        columns: Where given, only the gradient at these columns of the input is computed, and no
            parameter's; else every parameter's and no input's.
    """

    def __init__(
        self, forward: ForwardPass, *, members: int, rows: int, columns: slice | None = None
    ) -> None:
        self.output = torch.zeros(members, rows, forward.output.shape[2])
        """Gradient of the loss at the output; the caller fills it. Shape (members, rows, out_dim)."""
        self._dtype = forward.dtype
        self._results: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.gradients: Packed = []
        """As the forward pass's parameters are packed; empty where `columns` are given."""
        weights = [weight[:members] for weight in forward.weights]
        activations = [tensor[:members, :rows] for tensor in forward.activations[:-1]]
        inputs = forward.padded_inputs[:members, :rows]
        deltas = [torch.zeros_like(tensor) for tensor in activations]
        deltas.append(self.output if self._dtype == torch.float32 else self.output.to(self._dtype))
        self._calls: list[Call] = []
        if self._dtype != torch.float32:
            self._calls.append(partial(deltas[-1].copy_, self.output))
        for index in range(len(activations), 0, -1):
            if columns is None:
                self._reach_parameters(activations[index - 1], deltas[index])
            self._go_below(deltas[index], weights[index], activations[index - 1], deltas[index - 1])
        if columns is None:
            self.gradients.insert(0, self._product(inputs.transpose(1, 2), deltas[0]))
        else:
            self.input = self._product(deltas[0], weights[0][:, :-1][:, columns].transpose(1, 2))
            """Gradient at the input's columns, for every member. float32, shape (members, rows, columns)."""
        self._calls += [partial(exact.copy_, result) for exact, result in self._results]

    def _reach_parameters(self, before: torch.Tensor, delta: torch.Tensor) -> None:
        """Add a layer's weight and bias: h^T d, and the sum of d over the rows."""
        exact, bias = self._result(len(delta), 1, delta.shape[2])
        self._calls.append(partial(torch.sum, delta, 1, keepdim=True, out=bias))
        self.gradients[:0] = [self._product(before.transpose(1, 2), delta), exact]

    def _go_below(
        self, delta: torch.Tensor, weight: torch.Tensor, before: torch.Tensor, below: torch.Tensor
    ) -> None:
        """Add the step through a layer: (d W^T) where h > 0."""
        if delta.shape[2] == 1:
            self._calls.append(partial(torch.mul, delta, weight.transpose(1, 2), out=below))
        else:
            self._calls += _products(delta, weight.transpose(1, 2), below)
        self._calls.append(partial(_keep_positive, below, before, 0, grad_input=below))

    def _product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Add a product and return, in float32, what it gives."""
        exact, result = self._result(len(left), left.shape[1], right.shape[2])
        self._calls += _products(left, right, result)
        return exact

    def _result(self, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a float32 tensor and what to write: the same, or one that every run copies to it."""
        result = torch.zeros(shape, dtype=self._dtype)
        if self._dtype == torch.float32:
            return result, result
        self._results.append((result.float(), result))
        return self._results[-1]

    def run(self) -> None:
        """Go from `output` to `gradients` or `input`."""
        for call in self._calls:
            call()


def _products(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> list[Call]:
    """Return what multiplies stacks of matrices, each shape by what is fastest for it.

    A stack of one is no stack: PyTorch copies an operand of it that it need not. Single columns of
    float32 go to NumPy, whose products with vectors take a tenth of the time of PyTorch's.
    """
    if right.shape[2] == 1 and right.dtype == torch.float32:
        arrays = zip(left.numpy(), right[:, :, 0].numpy(), out[:, :, 0].numpy(), strict=True)
        return [partial(np.dot, matrix, vector, out=result) for matrix, vector, result in arrays]
    if len(left) == 1:
        return [partial(torch.mm, left[0], right[0], out=out[0])]
    return [partial(torch.bmm, left, right, out=out)]
