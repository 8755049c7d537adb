"""A policy's outputs for single observations by the compiled kernels: the same bytes on every processor."""

from sacpipe.kernels.inference import SingleForward
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.perceptron import Perceptrons
from sacpipe.networks.network import Network
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.networks.trunks.mlp import MLPTrunk


def kernel_dims(network: Network) -> list[int] | None:
    """Return the features before the first layer and after each one; None where kernels do not compute it.

    They compute perceptrons with at least one hidden layer.
    """
    trunk = network.trunk
    if not isinstance(trunk, MLPTrunk):
        return None
    linears = [*trunk.mlp.linears(), network.head]
    if len(linears) < 2:
        return None
    return [linears[0].weight.shape[1], *(linear.weight.shape[2] for linear in linears)]


def evaluate_by_kernels(policy: PolicyNetwork) -> bool:
    """Let kernels compute a policy's single outputs, from copies of its present parameters.

    Returns:
        Whether they can: the trunk is one that kernels compute.

    Raises:
        KernelError: there is no compiler or no instruction set for them here.
    """
    dims = kernel_dims(policy.network)
    if dims is None:
        return False
    stack = Perceptrons(Memory(), 1, dims, has_slow=False, is_critic=False)
    tensors = [tensor.detach().numpy() for tensor in policy.network.parameters()]
    for layer, weight, bias in zip(stack.layers, tensors[::2], tensors[1::2], strict=True):
        layer.put(layer.parameters, weight, bias)
    forward = SingleForward(stack)
    policy.evaluate_single = lambda vector, _images: forward(vector)
    return True
