"""The kernels of a normalisation: forwards with its ReLU, backwards, and its step. In float32 alone."""

from sacpipe.kernels.layers import PANEL, Floats, Norm, padded
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.operands import Chosen, Evaluation, Normalised, Operand, step_arguments, tensors_of
from sacpipe.kernels.program import Program


def normalise(program: Program, memory: Memory, norm: Norm, values: Floats, how: Evaluation) -> Operand:
    """Add the normalisation of `values`, which is in place, and its ReLU; return what that gives."""
    rows = padded(how.rows)
    output = memory.floats(norm.members, norm.panels, rows, PANEL)
    normal = Normalised(norm, values, memory.floats(norm.members, rows))
    tensors = tensors_of(norm, slow=how.slow)
    program.add(
        "norm",
        values=values,
        output=output,
        scales=normal.scales,
        weights=tensors.weights,
        bias=tensors.bias,
        members=norm.members,
        rows=how.rows,
        features=norm.features,
    )
    return Operand(output, output, rows, normal)


def normalise_back(
    program: Program, memory: Memory, delta: Operand, active: Operand, chosen: Chosen
) -> Operand:
    """Add the gradient backwards through the normalisation that gave `active`, if one did."""
    normal = active.normal
    if normal is None:
        return delta
    norm = normal.norm
    output = memory.floats(norm.members, norm.panels, delta.height, PANEL)
    program.add(
        "norm_back",
        delta=delta.left,
        normal=normal.values,
        scales=normal.scales,
        weights=norm.parameters.weights,
        output=output,
        members=norm.members,
        features=norm.features,
        held=active.height,
        **chosen.arguments(),
    )
    return Operand(output, output, delta.height, normal._replace(delta=delta.left))


def normalise_step(program: Program, delta: Operand, numbers: Floats, rows: int) -> None:
    """Add the step of the normalisation through which a gradient came, if it came through one."""
    normal = delta.normal
    if normal is None:
        return
    norm = normal.norm
    program.add(
        "norm_step",
        normal=normal.values,
        delta=normal.delta,
        members=norm.members,
        rows=rows,
        features=norm.features,
        held=normal.values.shape[2],
        **step_arguments(norm, numbers),
    )
