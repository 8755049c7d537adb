"""The shape rule of `Conv`: every attribute is checked, because onnxruntime trusts most of them.

Padding is explicit: `auto_pad` hides sizes that the file does not show. One or two axes may be convolved.
"""

import math
from typing import Any

from sacpipe.bundle.graph_values import Inputs, Node, Result, Value, input_value

_ATTRIBUTES = {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"}
_MAX_SPATIAL = 2
_BLOCK = 16
"""onnxruntime pads channels to a multiple of the processor's vector length, at most this."""


def convolve(node: Node, inputs: Inputs) -> Result:
    """Return shape, operations and temporary memory of a convolution.

    Temporary memory has the unfolded input (im2col), and input, kernel and output with padded channels.

    Raises:
        ValueError: an attribute or a shape does not fit.
    """
    data, kernel = input_value(inputs, 0).shape, input_value(inputs, 1).shape
    axes = len(data) - 2
    if not 1 <= axes <= _MAX_SPATIAL or len(kernel) != len(data) or 0 in data + kernel:
        raise ValueError(f"a convolution of {list(data)} by {list(kernel)}")
    group = _check_attributes(node, kernel, axes)
    if group * kernel[1] != data[1] or kernel[0] % group:
        raise ValueError(f"{group} groups of a convolution of {list(data)} by {list(kernel)}")
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None and bias.shape != kernel[:1]:
        raise ValueError(f"a bias of {list(bias.shape)} for {kernel[0]} channels")
    sizes = _output_sizes(node, data, kernel)
    places, taps = math.prod(sizes), math.prod(kernel[2:])
    scratch = data[0] * places * (kernel[1] * taps + _padded(kernel[0]))
    scratch += (
        data[0] * _padded(data[1]) * math.prod(data[2:]) + _padded(kernel[0]) * _padded(kernel[1]) * taps
    )
    operations = data[0] * places * kernel[0] * kernel[1] * taps
    return Result([Value((data[0], kernel[0], *sizes))], operations, scratch)


def _check_attributes(node: Node, kernel: tuple[int, ...], axes: int) -> int:
    """Check attributes by name and type, and return the number of groups."""
    if unknown := sorted(node.attributes.keys() - _ATTRIBUTES):
        raise ValueError(f"the attribute '{unknown[0]}'")
    if (auto_pad := node.attributes.get("auto_pad", b"NOTSET")) != b"NOTSET":
        raise ValueError(f"auto_pad {auto_pad!r}")
    if _list(node, "kernel_shape", list(kernel[2:]), axes) != list(kernel[2:]):
        raise ValueError(f"the kernel_shape {node.attributes['kernel_shape']} of a kernel {list(kernel)}")
    group = node.attributes.get("group", 1)
    if not isinstance(group, int) or group < 1:
        raise ValueError(f"{group} groups")
    return group


def _output_sizes(node: Node, data: tuple[int, ...], kernel: tuple[int, ...]) -> list[int]:
    axes = len(data) - 2
    strides, dilations = (_list(node, name, [1] * axes, axes) for name in ("strides", "dilations"))
    pads = _list(node, "pads", [0] * 2 * axes, 2 * axes)
    if min(strides) < 1 or min(dilations) < 1 or min(pads) < 0:
        raise ValueError(f"strides {strides}, dilations {dilations}, pads {pads}")
    sizes = []
    for axis in range(axes):
        span = (kernel[axis + 2] - 1) * dilations[axis] + 1
        before, after = pads[axis], pads[axis + axes]
        if max(before, after) >= span:
            raise ValueError(f"pads {pads} of a kernel that spans {span}")
        if (room := data[axis + 2] + before + after - span) < 0:
            raise ValueError(f"a kernel that spans {span} on {data[axis + 2] + before + after}")
        sizes.append(room // strides[axis] + 1)
    return sizes


def _list(node: Node, name: str, default: list[int], length: int) -> list[int]:
    values: Any = node.attributes.get(name, default)
    is_fitting = isinstance(values, list) and len(values) == length
    if not is_fitting or not all(isinstance(value, int) for value in values):
        raise ValueError(f"{name} {values}, not {length} integers")
    return list(values)


def _padded(channels: int) -> int:
    return -(-channels // _BLOCK) * _BLOCK
