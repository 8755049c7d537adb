"""Forward and backward passes of stacked perceptrons by hand, in memory taken once.

Autograd spends as much on small networks as their arithmetic: it allocates every intermediate (and
pages of a fresh block are faulted in one by one), records a graph and walks it. Here every buffer and
every view is made once, and a pass is a row of products that write into them.

The equations are the chain rule for h_i = relu(h_{i-1} W_i + b_i), the last layer linear:

    dW_i = h_{i-1}^T d_i      db_i = sum over rows of d_i      d_{i-1} = (d_i W_i^T) where h_{i-1} > 0

The first layer's bias is the last row of its matrix, and its input ends in a column of ones: a thin
product costs the same with one more column, a bias of its own costs two passes over the result.

With bfloat16 only the products are of that type: parameters, what comes in and what goes out stay
float32, and rounded copies of the weights are made at every forward pass.
"""

from collections.abc import Sequence

import torch

from sacpipe.networks.mlp import StackedMLP

_keep_positive = torch.ops.aten.threshold_backward.grad_input

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
        groups: How many inputs the stack is given. The first `num / groups` members get the first
            input, and so on: critics and their targets run as one stack with two inputs.
        rows: Rows of each input.
        dtype: Of the products: float32 or bfloat16.
    """

    def __init__(self, packed: Packed, *, groups: int, rows: int, dtype: torch.dtype = torch.float32) -> None:
        num, in_dim, _ = packed[0].shape
        self.dtype = dtype
        given = torch.ones(groups, rows, in_dim)
        self.inputs = given[:, :, :-1]
        """What to evaluate; the caller fills it. float32, shape (groups, rows, in_dim)."""
        self._rounded: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.padded_inputs = self._as_operand(given)
        self.weights = [self._as_operand(weight) for weight in (packed[0], *packed[1::2])]
        self.biases = [self._as_operand(bias) for bias in packed[2::2]]
        self.activations = [torch.zeros(num, rows, weight.shape[2], dtype=dtype) for weight in self.weights]
        """Of every layer, after its ReLU. The last is the output, shape (num, rows, out_dim)."""
        self.output = self.activations[-1].float()
        """float32."""
        each = num // groups
        members = [slice(group * each, (group + 1) * each) for group in range(groups)]
        self._first = [
            (self.padded_inputs[group].expand(each, -1, -1), self.weights[0][part], self.activations[0][part])
            for group, part in enumerate(members)
        ]
        self._columns = _columns(self.activations[-2], self.weights[-1], self.activations[-1])

    def _as_operand(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return what the products read: the tensor itself, or a copy that every run rounds again."""
        if self.dtype == tensor.dtype:
            return tensor
        self._rounded.append((torch.zeros_like(tensor, dtype=self.dtype), tensor))
        return self._rounded[-1][0]

    def run(self) -> torch.Tensor:
        """Evaluate `inputs` and return `output`."""
        for rounded, exact in self._rounded:
            rounded.copy_(exact)
        for inputs, weight, out in self._first:
            torch.bmm(inputs, weight, out=out)
        last = len(self.biases) - 1
        for index, bias in enumerate(self.biases):
            hidden, out = self.activations[index], self.activations[index + 1]
            hidden.relu_()
            if index == last and self._columns:
                for matrix, vector, result in self._columns:
                    torch.mv(matrix, vector, out=result)
            else:
                torch.bmm(hidden, self.weights[index + 1], out=out)
            out.add_(bias)
        if self._rounded:
            self.output.copy_(self.activations[-1])
        return self.output


class BackwardPass:
    """Takes a gradient from the output back through the rows and members that a forward pass evaluated.

    Args:
        forward: The pass whose activations are used.
        members: First members of the stack that have a gradient; the others are constants. All of
            them saw the first input.
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
        operand = self.output if self._dtype == torch.float32 else self.output.to(self._dtype)
        weights = [weight[:members] for weight in forward.weights]
        self._activations = [tensor[:members, :rows] for tensor in forward.activations[:-1]]
        self._weights = [weight.transpose(1, 2) for weight in weights]
        self._deltas = [torch.zeros_like(tensor) for tensor in self._activations] + [operand]
        self._results: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.gradients: Packed = []
        """As the forward pass's parameters are packed; empty where `columns` are given."""
        self._columns = columns
        if columns is None:
            inputs = forward.padded_inputs[0, :rows].expand(members, -1, -1)
            self._prepare(weights, inputs)
        else:
            self._first_weight = weights[0][:, :-1][:, columns].transpose(1, 2)
            self._to_columns = self._result(members, rows, self._first_weight.shape[2])
            self.input = self._exact(self._to_columns)
            """Gradient at the input's columns, for every member. float32, shape (members, rows, columns)."""

    def _prepare(self, weights: list[torch.Tensor], inputs: torch.Tensor) -> None:
        members, rows, _ = inputs.shape
        self._ones = torch.ones(members, 1, rows, dtype=self._dtype)
        self._before = [tensor.transpose(1, 2) for tensor in (inputs, *self._activations)]
        self._of_weights = [self._result(*weight.shape) for weight in weights]
        self._of_biases = [self._result(members, 1, weight.shape[2]) for weight in weights[1:]]
        self.gradients.append(self._exact(self._of_weights[0]))
        for pair in zip(self._of_weights[1:], self._of_biases, strict=True):
            self.gradients += map(self._exact, pair)
        self._last = _columns(self._before[-1], self._deltas[-1], self._of_weights[-1])

    def _result(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=self._dtype)

    def _exact(self, result: torch.Tensor) -> torch.Tensor:
        """Return a float32 tensor that has a product's result after every run: itself, or a copy."""
        if self._dtype == torch.float32:
            return result
        self._results.append((result.float(), result))
        return self._results[-1][0]

    def run(self) -> None:
        """Go from `output` to `gradients` or `input`."""
        if self._results:
            self._deltas[-1].copy_(self.output)
        for index in range(len(self._deltas) - 1, 0, -1):
            delta, below = self._deltas[index], self._deltas[index - 1]
            if self._columns is None:
                self._to_parameters(index, delta)
            if delta.shape[2] == 1:
                torch.mul(delta, self._weights[index], out=below)
            else:
                torch.bmm(delta, self._weights[index], out=below)
            _keep_positive(below, self._activations[index - 1], 0, grad_input=below)
        if self._columns is None:
            torch.bmm(self._before[0], self._deltas[0], out=self._of_weights[0])
        else:
            torch.bmm(self._deltas[0], self._first_weight, out=self._to_columns)
        for exact, result in self._results:
            exact.copy_(result)

    def _to_parameters(self, index: int, delta: torch.Tensor) -> None:
        torch.bmm(self._ones, delta, out=self._of_biases[index - 1])
        if delta.shape[2] == 1:
            for matrix, vector, result in self._last:
                torch.mv(matrix, vector, out=result)
        else:
            torch.bmm(self._before[index], delta, out=self._of_weights[index])


def _columns(
    matrices: torch.Tensor, columns: torch.Tensor, results: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Split a product with single columns into products with vectors, which are cheaper; else return none."""
    if columns.shape[2] != 1:
        return []
    return [(matrices[i], columns[i, :, 0], results[i, :, 0]) for i in range(len(matrices))]
