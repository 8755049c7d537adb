"""Forward and backward passes of stacked perceptrons without autograd, in preallocated memory.

For small networks, autograd's overhead is as large as the arithmetic: it allocates every intermediate
(with a page fault for each new page), records a graph and traverses it. Here every buffer and every view
is made once, and a pass is a list of calls that write into the buffers.

The equations are the chain rule for h_i = relu(h_{i-1} W_i + b_i), the last layer linear:

    dW_i = h_{i-1}^T d_i      db_i = sum over rows of d_i      d_{i-1} = (d_i W_i^T) where h_{i-1} > 0

The first layer's bias is the last row of its matrix, and its input ends in a column of ones: one more
column does not slow a thin product, while a separate bias takes two passes over the result.

With bfloat16, only the products have that type. Parameters, inputs and outputs stay float32, and every
forward pass makes rounded copies of the weights.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from sacpipe.networks.network import Network

_keep_positive = torch.ops.aten.threshold_backward.grad_input

Call = Callable[[], Any]
Packed = list[torch.Tensor]
"""First matrix with its bias as last row, shape (num, in_dim + 1, out_dim); then weight, bias, weight, ..."""


def pack(tensors: Sequence[Sequence[torch.Tensor]]) -> tuple[Packed, list[list[torch.Tensor]]]:
    """Copy the layers of networks of the same shape into common tensors, network after network.

    Args:
        tensors: Of each network: weight and bias of every layer, in order. Shapes (num, in_dim, out_dim) and
            (num, 1, out_dim).

    Returns:
        The packed tensors, and views of them as the tensors that were passed.
    """
    packed: Packed = []
    views: list[list[torch.Tensor]] = [[] for _ in tensors]
    for index in range(0, len(tensors[0]), 2):
        weight = torch.cat([network[index].detach() for network in tensors])
        bias = torch.cat([network[index + 1].detach() for network in tensors])
        if index == 0:
            first = torch.cat([weight, bias], dim=1)
            weight, bias = first[:, :-1], first[:, -1:]
            packed.append(first)
        else:
            packed += [weight, bias]
        member = 0
        for network, found in zip(tensors, views, strict=True):
            rows = slice(member, member + len(network[index]))
            found += [weight[rows], bias[rows]]
            member = rows.stop
    return packed, views


def pack_parameters(networks: Sequence[Network]) -> Packed:
    """Move the parameters of networks of the same shape into packed tensors.

    The networks' parameters become views of these: a write to them changes the networks.
    """
    parameters = [list(network.parameters()) for network in networks]
    packed, views = pack(parameters)
    for network, found in zip(parameters, views, strict=True):
        for parameter, view in zip(network, found, strict=True):
            parameter.data = view
    return packed


def repack(tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Pack the tensors of one network, e.g. its optimiser's moments; see `Adam.repacked`."""
    packed, views = pack([tensors])
    return packed, views[0]


class ForwardPass:
    """Evaluates a stack of perceptrons on fixed buffers.

    Args:
        packed: Parameters; later changes must be in place.
        rows: Number of rows of each member's input.
        dtype: Type of the products, float32 or bfloat16.
    """

    def __init__(self, packed: Packed, *, rows: int, dtype: torch.dtype = torch.float32) -> None:
        num, in_dim, _ = packed[0].shape
        self.dtype = dtype
        padded = torch.ones(num, rows, in_dim)
        self.inputs = padded[:, :, :-1]
        """Input of each member; the caller fills it. float32, shape (num, rows, in_dim)."""
        self._rounded: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.padded_inputs = self._as_operand(padded)
        self.weights = [self._as_operand(weight) for weight in (packed[0], *packed[1::2])]
        self.biases = [self._as_operand(bias) for bias in packed[2::2]]
        self.activations = [torch.zeros(num, rows, weight.shape[2], dtype=dtype) for weight in self.weights]
        """Output of every layer, after its ReLU. The last has shape (num, rows, out_dim)."""
        self.output = self.activations[-1].float()
        """Output of the stack. float32, shape (num, rows, out_dim)."""
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
        """Return the operand of the products: the tensor itself, or a copy that every run rounds again."""
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
    """Propagates a gradient from the output back through a forward pass.

    Args:
        forward: Forward pass whose activations are used.
        members: Number of members that have a gradient, from the first; the others are constants.
        rows: Number of rows that have a gradient, from the first.
        columns: Input columns whose gradient is computed, without any parameter's gradient; None for the
            gradients of all parameters, without the input's.
    """

    def __init__(
        self, forward: ForwardPass, *, members: int, rows: int, columns: slice | None = None
    ) -> None:
        self.output = torch.zeros(members, rows, forward.output.shape[2])
        """Gradient of the loss at the output; the caller fills it. Shape (members, rows, out_dim)."""
        self._dtype = forward.dtype
        self._results: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.gradients: Packed = []
        """Gradients of the parameters, packed as in the forward pass; empty if `columns` are given."""
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
                self._add_parameter_gradients(activations[index - 1], deltas[index])
            self._add_layer(deltas[index], weights[index], activations[index - 1], deltas[index - 1])
        if columns is None:
            self.gradients.insert(0, self._product(inputs.transpose(1, 2), deltas[0]))
        else:
            self.input = self._product(deltas[0], weights[0][:, :-1][:, columns].transpose(1, 2))
            """Gradient at the input's columns, for every member. float32, shape (members, rows, columns)."""
        self._calls += [partial(exact.copy_, result) for exact, result in self._results]

    def _add_parameter_gradients(self, before: torch.Tensor, delta: torch.Tensor) -> None:
        """Add the calls for a layer's weight and bias: h^T d, and the sum of d over the rows."""
        exact, bias = self._result(len(delta), 1, delta.shape[2])
        self._calls.append(partial(torch.sum, delta, 1, keepdim=True, out=bias))
        self.gradients[:0] = [self._product(before.transpose(1, 2), delta), exact]

    def _add_layer(
        self, delta: torch.Tensor, weight: torch.Tensor, before: torch.Tensor, below: torch.Tensor
    ) -> None:
        """Add the calls that propagate through a layer: (d W^T) where h > 0."""
        if delta.shape[2] == 1:
            self._calls.append(partial(torch.mul, delta, weight.transpose(1, 2), out=below))
        else:
            self._calls += _products(delta, weight.transpose(1, 2), below)
        self._calls.append(partial(_keep_positive, below, before, 0, grad_input=below))

    def _product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Add the calls for a product and return its result as float32."""
        exact, result = self._result(len(left), left.shape[1], right.shape[2])
        self._calls += _products(left, right, result)
        return exact

    def _result(self, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a float32 tensor, and the tensor to write: the same, or one that every run copies to it."""
        result = torch.zeros(shape, dtype=self._dtype)
        if self._dtype == torch.float32:
            return result, result
        self._results.append((result.float(), result))
        return self._results[-1]

    def run(self) -> None:
        """Compute `gradients` or `input` from `output`."""
        for call in self._calls:
            call()


def _products(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> list[Call]:
    """Return the calls that multiply two stacks of matrices, chosen by shape for speed.

    A stack of one is multiplied as a plain matrix, because PyTorch would copy an operand of the stack.
    float32 products with a single column use NumPy, which needs a tenth of PyTorch's time.
    """
    if right.shape[2] == 1 and right.dtype == torch.float32:
        arrays = zip(left.numpy(), right[:, :, 0].numpy(), out[:, :, 0].numpy(), strict=True)
        return [partial(np.dot, matrix, vector, out=result) for matrix, vector, result in arrays]
    if len(left) == 1:
        return [partial(torch.mm, left[0], right[0], out=out[0])]
    return [partial(torch.bmm, left, right, out=out)]
