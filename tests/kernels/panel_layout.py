"""The kernels' layout of matrices, and calls of single kernels."""

import numpy as np

from sacpipe.kernels.perceptron import PANEL, padded, panels
from sacpipe.kernels.program import Program


def to_panels(rows, width=PANEL):
    """[..., rows, columns] -> [..., panels, padded rows, width], zeros in the padding."""
    *front, count, columns = rows.shape
    full = np.zeros((*front, padded(count), panels(columns, width) * width), dtype=np.float32)
    full[..., :count, :columns] = rows
    parts = full.reshape(*front, padded(count), -1, width)
    return np.ascontiguousarray(np.moveaxis(parts, -2, -3))


def from_panels(array, rows, columns):
    """[..., panels, padded rows, width] -> [..., rows, columns]."""
    whole = np.moveaxis(array, -3, -2)
    return whole.reshape(*whole.shape[:-2], -1)[..., :rows, :columns]


def zero_panels(members, rows, columns, width=PANEL):
    return np.zeros((members, panels(columns, width), padded(rows), width), dtype=np.float32)


def slot(rows):
    """Address and stride of rows, as a program reads them."""
    return np.array([[rows.ctypes.data, rows.strides[0]]], dtype=np.int64)


def floats(*values):
    return np.array(values, dtype=np.float32)


def call(kernel, **arguments):
    """Run one kernel by three threads; return what `Program.run` returns."""
    program = Program()
    assert program.add(kernel, **arguments) == 1
    return program.run(threads=3)
