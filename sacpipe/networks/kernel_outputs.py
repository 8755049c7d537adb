"""A policy's outputs for single observations by the compiled kernels: the same bytes on every processor."""

from typing import NamedTuple

from sacpipe.kernels.inference import SingleForward
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.perceptron import NormalisedPerceptrons, Perceptrons
from sacpipe.networks.network import Network
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.networks.trunks.layer_norm_mlp import LayerNormMLPTrunk
from sacpipe.networks.trunks.mlp import MLPTrunk


class KernelShape(NamedTuple):
    """What kernels must know of a network."""

    dims: list[int]
    """Features before the first layer and after each one."""
    kind: type[Perceptrons]
    """What computes it."""


def kernel_shape(network: Network) -> KernelShape | None:
    """Return the shape of a network; None where kernels do not compute it.

    They compute perceptrons with at least one hidden layer, normalised or not.
    """
    trunk = network.trunk
    kind: type[Perceptrons]
    if type(trunk) is MLPTrunk:  # a subclass may compute something else
        kind, hidden = Perceptrons, trunk.mlp.linears
    elif type(trunk) is LayerNormMLPTrunk:
        kind, hidden = NormalisedPerceptrons, trunk.linears
    else:
        return None
    if not hidden:
        return None
    linears = (*hidden, network.head)
    dims = [linears[0].weight.shape[1], *(linear.weight.shape[2] for linear in linears)]
    return KernelShape(dims, kind)


def evaluate_by_kernels(policy: PolicyNetwork) -> bool:
    """Let kernels compute a policy's single outputs, from copies of its present parameters.

    Returns:
        Whether they can: the trunk is one that kernels compute, and the policy takes observations alone.

    Raises:
        KernelError: there is no compiler or no instruction set for them here.
    """
    shape = kernel_shape(policy.network)
    if shape is None or policy.noise_dim is not None:
        return False
    stack = shape.kind(Memory(), 1, shape.dims, has_slow=False, is_critic=False)
    tensors = [tensor.detach().numpy() for tensor in policy.network.parameters()]
    for part, weight, bias in zip(stack.parts(), tensors[::2], tensors[1::2], strict=True):
        part.put(part.parameters, weight, bias)
    forward = SingleForward(stack)
    policy.evaluate_single = lambda vector, _images: forward(vector)
    return True
