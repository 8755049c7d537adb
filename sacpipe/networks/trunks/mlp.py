"""A multilayer perceptron."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.mlp import StackedMLP
from sacpipe.networks.trunks.base import Trunk, joined
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft


class PerceptronConfig(Config):
    """Keys of a perceptron for observations without images."""

    name: str
    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...]
    """Units of each hidden layer."""

    @classmethod
    def preset(cls, _spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {"hidden_dims": [budget.hidden_dim, budget.hidden_dim]}

    def refuse_images(self, inputs: GroupInputs) -> None:
        """Raise a ConfigError if there are images."""
        if inputs.image_terms:
            names = ", ".join(term.name for term in inputs.image_terms)
            raise ConfigError(
                f"algorithm.network.name: '{self.name}' takes no images, found the terms {names}. Use "
                "`conv`, or leave them out of the task's observation."
            )


class MLPConfig(PerceptronConfig):
    """Multilayer perceptron with ReLU, for observations without images."""

    name: Literal["mlp"]

    def build(self, inputs: GroupInputs, *, extra_dim: int, num: int) -> "MLPTrunk":
        """Return a trunk whose parameters are not drawn yet; images are a ConfigError."""
        self.refuse_images(inputs)
        return MLPTrunk(StackedMLP(num, inputs.vector_dim + extra_dim, self.hidden_dims), num)


class MLPTrunk(Trunk):
    """The hidden layers of a perceptron."""

    def __init__(self, mlp: StackedMLP, num: int) -> None:
        super().__init__()
        self.mlp, self.num, self.feature_dim = mlp, num, mlp.out_dim

    def reset(self, generator: torch.Generator) -> None:
        """Draw every layer's weights, in order."""
        self.mlp.reset(generator)

    def forward(
        self, inputs: Inputs, extra: torch.Tensor | None = None, members: int | None = None
    ) -> torch.Tensor:
        """Return features; see `Trunk.forward`."""
        parts = [inputs.vector] if extra is None else [inputs.vector, extra]
        features: torch.Tensor = self.mlp(joined(parts, members))
        return features

    def single(
        self, vector: FloatArray, images: tuple[NDArray[np.uint8], ...], extra: FloatArray | None = None
    ) -> FloatArray:
        """Return features of one observation by NumPy; see `StackedMLP.single`."""
        del images  # the config refuses tasks that have some
        return self.mlp.single(vector if extra is None else np.concatenate([vector, extra]))

    def describe(
        self, graph: "GraphDraft", vector: str | None, images: tuple[str, ...], extra: str | None = None
    ) -> str:
        """Write `forward` down; see `Trunk.describe`."""
        del images  # the config refuses tasks that have some
        return self.mlp.describe(graph, graph.joined([vector, extra], "features"))
