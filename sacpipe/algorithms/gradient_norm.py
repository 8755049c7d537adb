"""The Euclidean norm of a gradient, computed only when it is asked for."""

from collections.abc import Callable, Sequence

import torch


def norm_of(gradients: Sequence[torch.Tensor]) -> Callable[[], float]:
    """Return the function that computes the Euclidean norm of some tensors."""
    return lambda: float(torch.nn.utils.get_total_norm(gradients))
