"""The state of a learner as named arrays, for checkpoints."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.base import Arrays
from sacpipe.core.errors import CheckpointError
from sacpipe.core.seeding import generator_state, restore_generator


class LearnerState:
    """Copies the tensors of modules and optimisers and the state of a random stream out and in.

    Args:
        modules: By name.
        optimisers: By name.
        stream: Of the learner's own noise.
        tensors: Others, by name.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        optimisers: Mapping[str, Adam],
        stream: np.random.Generator,
        tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self._modules, self._optimisers, self._stream = modules, optimisers, stream
        self._others = tensors or {}

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for owner, module in self._modules.items():
            for name, tensor in module.state_dict().items():
                yield f"{owner}/{name}", tensor
        for name, tensor in self._others.items():
            yield name, tensor.detach()
        for owner, optimiser in self._optimisers.items():
            for name, tensor in optimiser.tensors():
                yield f"adam/{owner}/{name}", tensor

    def arrays(self, gradient_steps: int) -> Arrays:
        """Return copies of everything."""
        arrays: Arrays = {name: tensor.detach().numpy().copy() for name, tensor in self._tensors()}
        arrays["noise"] = generator_state(self._stream)
        arrays["gradient_steps"] = np.array(gradient_steps, dtype=np.int64)
        return arrays

    def restore(self, state: Arrays) -> int:
        """Copy a state in, and return its number of gradient steps.

        Raises:
            CheckpointError: an array is missing, left over, or of another shape.
        """
        tensors = dict(self._tensors())
        expected = {*tensors, "noise", "gradient_steps"}
        if expected != state.keys():
            raise CheckpointError(
                f"learner state: expected and found differ in {sorted(expected ^ state.keys())}."
            )
        for name, tensor in tensors.items():
            if tuple(tensor.shape) != state[name].shape:
                raise CheckpointError(
                    f"learner state: {name} has shape {state[name].shape}, expected {tuple(tensor.shape)}."
                )
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(state[name]))
        restore_generator(self._stream, state["noise"].astype(np.uint64))
        return int(state["gradient_steps"])
