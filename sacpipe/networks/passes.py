"""Forward and backward passes of stacked perceptrons by hand, in memory taken once.

Autograd spends more on small networks than their arithmetic: it allocates every intermediate (and a
fresh block over glibc's mmap threshold is faulted in page by page), records a graph and walks it. Here
every buffer and every view is made once, and a pass is a row of products that write into them.

The equations are the chain rule for h_i = relu(h_{i-1} W_i + b_i), the last layer linear:

    dW_i = h_{i-1}^T d_i      db_i = sum over rows of d_i      d_{i-1} = (d_i W_i^T) masked where h_{i-1} = 0

`tests/networks/test_passes.py` holds them to autograd's numbers.
"""

import torch

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Weights (num, in_dim, out_dim) and biases (num, 1, out_dim), first to last."""

_mask_relu = torch.ops.aten.threshold_backward.grad_input


class ForwardPass:
    """Evaluates a stack of perceptrons on fixed buffers.

    Args:
        layers: Parameters; only ever changed in place. `num` members.
        groups: How many inputs the stack is given. The first `num / groups` members get the first
            input, and so on: twin critics and their targets run as one stack with two inputs.
        rows: Rows of each input.
    """

    def __init__(self, layers: Layers, *, groups: int, rows: int) -> None:
        num, in_dim, _ = layers[0][0].shape
        self.layers, self.groups, self.rows = layers, groups, rows
        self.inputs = torch.zeros(groups, rows, in_dim)
        """What to evaluate; the caller fills it. Shape (groups, rows, in_dim)."""
        self.activations = [torch.zeros(num, rows, weight.shape[2]) for weight, _ in layers]
        """Of every layer, after its ReLU. The last is the output, shape (num, rows, out_dim)."""
        self.output = self.activations[-1]
        each = num // groups
        weight, bias = layers[0]
        members = [slice(group * each, (group + 1) * each) for group in range(groups)]
        self._first = [
            (bias[part], self.inputs[group].expand(each, -1, -1), weight[part], self.activations[0][part])
            for group, part in enumerate(members)
        ]
        self._scalar = layers[-1][0].shape[2] == 1 and len(layers) > 1
        if self._scalar:
            hidden, (weight, _) = self.activations[-2], layers[-1]
            self._last = [(hidden[i], weight[i, :, 0], self.output[i, :, 0]) for i in range(num)]

    def run(self) -> torch.Tensor:
        """Evaluate `inputs` and return `output`."""
        for bias, inputs, weight, out in self._first:
            torch.baddbmm(bias, inputs, weight, out=out)
        for index in range(1, len(self.layers)):
            hidden = self.activations[index - 1]
            hidden.relu_()
            weight, bias = self.layers[index]
            if self._scalar and index == len(self.layers) - 1:
                for rows, column, out in self._last:  # a product with one column is cheaper as a vector's
                    torch.mv(rows, column, out=out)
                self.output.add_(bias)
            else:
                torch.baddbmm(bias, hidden, weight, out=self.activations[index])
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
        activations = [tensor[:members, :rows] for tensor in forward.activations[:-1]]
        inputs = forward.inputs[0, :rows].expand(members, -1, -1)
        weights = [weight[:members] for weight, _ in forward.layers]
        self._activations, self._weights = activations, [weight.transpose(1, 2) for weight in weights]
        self._deltas = [torch.zeros(tensor.shape) for tensor in activations] + [self.output]
        self.gradients: list[torch.Tensor] = []
        """Weight, bias, weight, bias, ... in the order of the layers; empty where `columns` are given."""
        self._products: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._ones = torch.ones(members, 1, rows)
        self._to_inputs = columns is not None
        if columns is not None:
            self._first_weight = weights[0][:, columns].transpose(1, 2)
            self.input = torch.zeros(members, rows, self._first_weight.shape[2])
            """Gradient at the input's columns, for every member. Shape (members, rows, columns)."""
            return
        for before, delta, weight in zip([inputs, *activations], self._deltas, weights, strict=True):
            of_weight, of_bias = torch.zeros(weight.shape), torch.zeros(members, 1, weight.shape[2])
            self.gradients += [of_weight, of_bias]
            self._products.append((before.transpose(1, 2), delta, of_weight, of_bias))

    def run(self) -> None:
        """Go from `output` to `gradients` or `input`."""
        for index in range(len(self._deltas) - 1, -1, -1):
            delta = self._deltas[index]
            if not self._to_inputs:
                before, _, of_weight, of_bias = self._products[index]
                torch.bmm(before, delta, out=of_weight)
                torch.bmm(self._ones, delta, out=of_bias)
            if index == 0:
                break
            below, weight = self._deltas[index - 1], self._weights[index]
            if delta.shape[2] == 1:
                torch.mul(delta, weight, out=below)
            else:
                torch.bmm(delta, weight, out=below)
            _mask_relu(below, self._activations[index - 1], 0, grad_input=below)
        if self._to_inputs:
            torch.bmm(self._deltas[0], self._first_weight, out=self.input)
