"""Forward and backward passes of one perceptron by hand, in memory taken once.

Autograd spends as much on small networks as their arithmetic: it allocates every intermediate (and
pages of a fresh block are faulted in one by one), records a graph and walks it. Here every buffer and
every view is made once, and a pass is a row of products that write into them.

The equations are the chain rule for h_i = relu(h_{i-1} W_i + b_i), the last layer linear:

    dW_i = h_{i-1}^T d_i      db_i = sum over rows of d_i      d_{i-1} = (d_i W_i^T) where h_{i-1} > 0

The first layer's bias is the last row of its matrix, and its input ends in a column of ones: a thin
product costs the same with one more column, a bias of its own costs a pass over the result.

With bfloat16 only the products are of that type: parameters, what comes in and what goes out stay
float32, and rounded copies of the weights are made at every forward pass.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from sacpipe.networks.mlp import StackedMLP

_keep_positive = torch.ops.aten.threshold_backward.grad_input

Packed = list[torch.Tensor]
"""First matrix with its bias as last row (in_dim + 1, out_dim); then weight, bias (1, out_dim), and so on."""


def pack(network: StackedMLP) -> list[Packed]:
    """Move a stack's parameters so that each member's are contiguous, and return them by member.

    The network keeps working; whoever writes to the packed tensors writes to it.
    """
    packed: list[torch.Tensor] = []
    for index, layer in enumerate(network.linears()):
        weight, bias = layer.weight.detach(), layer.bias.detach()
        if index == 0:
            first = torch.cat([weight, bias], dim=1)
            layer.weight.data, layer.bias.data = first[:, :-1], first[:, -1:]
            packed.append(first)
        else:
            packed += [weight, bias]
    return [[tensor[member] for tensor in packed] for member in range(network.num)]


def padded(rows: int, in_dim: int) -> torch.Tensor:
    """Return an input for passes: `in_dim` columns to fill and a last one of ones."""
    return torch.ones(rows, in_dim + 1)


class ForwardPass:
    """Evaluates a perceptron on fixed buffers.

    Args:
        packed: Parameters; only ever changed in place.
        inputs: Made by `padded`; filled by the caller, and free to be shared.
        dtype: Of the products: float32 or bfloat16.
    """

    def __init__(self, packed: Packed, inputs: torch.Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self._rounded: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.inputs = self._as_operand(inputs)
        self.weights = [self._as_operand(weight) for weight in (packed[0], *packed[1::2])]
        self._biases = [self._as_operand(bias) for bias in packed[2::2]]
        self.activations = [torch.zeros(len(inputs), weight.shape[1], dtype=dtype) for weight in self.weights]
        """Of every layer, after its ReLU; the last one's is the output."""
        self.output = self.activations[-1].float()
        """Shape (rows, out_dim), float32."""
        self._vector = _vector(self.activations[-2], self.weights[-1], self.activations[-1])

    def _as_operand(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return what the products read: the tensor itself, or a copy that every run rounds again."""
        if self.dtype == tensor.dtype:
            return tensor
        self._rounded.append((torch.zeros_like(tensor, dtype=self.dtype), tensor))
        return self._rounded[-1][0]

    def run(self) -> torch.Tensor:
        """Evaluate the inputs and return `output`."""
        for rounded, exact in self._rounded:
            rounded.copy_(exact)
        torch.mm(self.inputs, self.weights[0], out=self.activations[0])
        last = len(self._biases) - 1
        for index, bias in enumerate(self._biases):
            hidden, out = self.activations[index], self.activations[index + 1]
            hidden.relu_()
            if index == last and self._vector is not None:
                matrix, column, result = self._vector
                torch.mv(matrix, column, out=result)
                out.add_(bias)
            else:
                torch.addmm(bias, hidden, self.weights[index + 1], out=out)
        if self._rounded:
            self.output.copy_(self.activations[-1])
        return self.output


class ParameterGradient:
    """Takes a gradient at the output of a forward pass to its parameters.

    Args:
        forward: The pass whose activations are used.
        rows: Those of its rows that have a gradient.
    """

    def __init__(self, forward: ForwardPass, rows: slice = slice(None)) -> None:
        self.output = torch.zeros_like(forward.output[rows])
        """Gradient at the output; the caller fills it. Shape (rows, out_dim), float32."""
        dtype, weights = forward.dtype, forward.weights
        self._activations = [tensor[rows] for tensor in forward.activations[:-1]]
        self._before = [tensor.t() for tensor in (forward.inputs[rows], *self._activations)]
        self._transposed = [weight.t() for weight in weights]
        last = self.output if dtype == torch.float32 else self.output.to(dtype)
        self._deltas = [*(torch.zeros_like(tensor) for tensor in self._activations), last]
        self._ones = torch.ones(1, len(self.output), dtype=dtype)
        self._of_weights = [torch.zeros_like(weight) for weight in weights]
        self._of_biases = [torch.zeros(1, weight.shape[1], dtype=dtype) for weight in weights[1:]]
        self._vector = _vector(self._before[-1], last, self._of_weights[-1])
        packed = [self._of_weights[0]]
        for pair in zip(self._of_weights[1:], self._of_biases, strict=True):
            packed += pair
        self._rounded = [] if dtype == torch.float32 else [(tensor.float(), tensor) for tensor in packed]
        self.gradients: Packed = [exact for exact, _ in self._rounded] or packed
        """As the parameters are packed."""

    def run(self) -> None:
        """Go from `output` to `gradients`."""
        if self._rounded:
            self._deltas[-1].copy_(self.output)
        for index in range(len(self._deltas) - 1, 0, -1):
            delta, below = self._deltas[index], self._deltas[index - 1]
            torch.mm(self._ones, delta, out=self._of_biases[index - 1])
            if delta.shape[1] > 1:
                torch.mm(self._before[index], delta, out=self._of_weights[index])
                torch.mm(delta, self._transposed[index], out=below)
            else:
                self._through_one_column(delta, below, self._transposed[index])
            _keep_positive(below, self._activations[index - 1], 0, grad_input=below)
        torch.mm(self._before[0], self._deltas[0], out=self._of_weights[0])
        for exact, rounded in self._rounded:
            exact.copy_(rounded)

    def _through_one_column(self, delta: torch.Tensor, below: torch.Tensor, weight: torch.Tensor) -> None:
        """Pass a last layer with one unit, where vectors are cheaper than matrices of one column."""
        if self._vector is not None:
            matrix, column, result = self._vector
            torch.mv(matrix, column, out=result)
        torch.mul(delta, weight, out=below)


class InputGradient:
    """Gradient of a perceptron's single output at some columns of its input, for chosen rows.

    Args:
        forward: The pass whose activations are used; its output has one column.
        columns: Of the input.
    """

    def __init__(self, forward: ForwardPass, columns: slice) -> None:
        self._hidden = forward.activations[:-1]
        self._chosen = [torch.zeros_like(tensor) for tensor in self._hidden]
        self._deltas = [torch.zeros_like(tensor) for tensor in self._hidden]
        self._last_row = forward.weights[-1].t()
        self._transposed = [weight.t() for weight in forward.weights[1:-1]]
        self._first = forward.weights[0][:-1][columns].t()
        self._result = torch.zeros(len(forward.output), self._first.shape[1], dtype=forward.dtype)

    def run(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the gradient at these rows. Shape (len(rows), columns), float32."""
        count, index = len(rows), torch.from_numpy(rows)
        grad = self._last_row.expand(count, -1)
        for layer in range(len(self._hidden) - 1, -1, -1):
            chosen, delta = self._chosen[layer][:count], self._deltas[layer][:count]
            torch.index_select(self._hidden[layer], 0, index, out=chosen)
            if layer < len(self._hidden) - 1:
                grad = torch.mm(self._deltas[layer + 1][:count], self._transposed[layer], out=delta)
            _keep_positive(grad, chosen, 0, grad_input=delta)
        return torch.mm(self._deltas[0][:count], self._first, out=self._result[:count]).float()


def _vector(
    matrix: torch.Tensor, column: torch.Tensor, result: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Return a product with a single column as a matrix, a vector and a result; None where it has more."""
    return (matrix, column[:, 0], result[:, 0]) if column.shape[1] == 1 else None
