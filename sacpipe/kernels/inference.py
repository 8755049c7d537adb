"""One observation through a network in the kernels' layout, without a program: for acting."""

import threading

import numpy as np

from sacpipe.kernels.interface import library
from sacpipe.kernels.layers import Norm
from sacpipe.kernels.perceptron import PANEL, Floats, Perceptrons, panels


class SingleForward:
    """Evaluates the first member of a stack on one row; later changes of its parameters count.

    The numbers are those of a batch, byte for byte.

    Args:
        network: Without a critic's last layer.
        isa: Instruction set; empty for the one that this process uses.
    """

    def __init__(self, network: Perceptrons, isa: str = "") -> None:
        self._function = library(isa).sacpipe_forward
        self._network = network  # keeps the memory alive
        rows = [
            (
                layer.parameters.weights.ctypes.data,
                layer.parameters.bias.ctypes.data,
                layer.inputs,
                layer.outputs,
                layer.width,
                int(layer is not network.layers[-1] and layer.norm is None),
                *_addresses(layer.norm),
            )
            for layer in network.layers
        ]
        self._layers = np.array(rows, dtype=np.int64)
        row_floats = max(panels(dim) for dim in network.dims) * PANEL
        self._input = np.zeros(network.dims[0], dtype=np.float32)
        self._memory = np.zeros((2, row_floats), dtype=np.float32)
        self._output = np.zeros(network.dims[-1], dtype=np.float32)
        self._lock = threading.Lock()
        self._arguments = (
            self._layers.ctypes.data, len(rows), self._input.ctypes.data, self._memory.ctypes.data,
            row_floats, self._output.ctypes.data,
        )  # fmt: skip

    def __call__(self, vector: Floats) -> Floats:
        """Return the output for an input. Threads may call it at once."""
        with self._lock:  # the library runs without Python's global lock
            self._input[...] = vector
            self._function(*self._arguments)
            return self._output.copy()


def _addresses(norm: Norm | None) -> tuple[int, int]:
    """Return where weights and biases are; zeros without a normalisation."""
    if norm is None:
        return 0, 0
    return norm.parameters.weights.ctypes.data, norm.parameters.bias.ctypes.data
