"""What the networks of all policy kinds have in common."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.network import Network
from sacpipe.networks.normaliser import make_normaliser
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft
    from sacpipe.networks.trunks import TrunkSection

EvaluateSingle = Callable[[FloatArray, tuple[NDArray[np.uint8], ...]], FloatArray]
"""From normalised vector and raw images of one observation to the head's output."""


class PolicyNetwork(nn.Module):
    """Normaliser, trunk and head of a policy. A kind adds `act`, and its own `forward` where needed.

    Args:
        spec: The `policy_spec` of the task.
        trunk: Config of the trunk.
        out_dim: Length of the head's output.
        normalised_terms: Names of the terms that are normalised.
        extra_dim: Length of another vector that the trunk takes, e.g. noise; a kind that has one computes its
            outputs itself.
    """

    noise_dim: int | None = None
    """Length of a last argument `noise` of `forward`, standard normal; None for a deterministic export."""

    def __init__(
        self,
        spec: EnvSpec,
        trunk: "TrunkSection",
        out_dim: int,
        normalised_terms: tuple[str, ...],
        *,
        extra_dim: int = 0,
    ) -> None:
        super().__init__()
        self.inputs = GroupInputs(spec, "policy")
        self.action_dim = spec.action_dim
        self._names = [term.name for term in spec.observation]
        self.network = Network(trunk.build(self.inputs, extra_dim=extra_dim, num=1), out_dim)
        self.normaliser = make_normaliser(self.inputs, normalised_terms)
        self.evaluate_single: EvaluateSingle = self.network.single
        """Computes the head's output of one observation; an engine that has the parameters replaces it."""

    def reset(self, generator: torch.Generator) -> None:
        """Draw all parameters from one generator, in a fixed order."""
        self.network.reset(generator)

    def observe(self, observation: Observation) -> None:
        """Take one training observation into the normaliser, if there is one."""
        if self.normaliser is not None:
            self.normaliser.observe(observation.group("policy"))

    def output(self, inputs: Inputs) -> torch.Tensor:
        """Return the head's output for raw inputs. Shape (B, out_dim)."""
        output: torch.Tensor = self.network(self.normalised(inputs))
        return output

    def normalised(self, inputs: Inputs) -> Inputs:
        """Return inputs as the network takes them."""
        return inputs if self.normaliser is None else inputs._replace(vector=self.normaliser(inputs.vector))

    def single_output(self, observation: Observation) -> FloatArray:
        """Return the head's output for one raw observation, as `output` up to rounding. Shape (out_dim,)."""
        return self.evaluate_single(*self.single_inputs(observation))

    def single_inputs(self, observation: Observation) -> tuple[FloatArray, tuple[NDArray[np.uint8], ...]]:
        """Return the vector of one raw observation as the network takes it, and its images."""
        vector, images = self.inputs.single(observation)
        if self.normaliser is not None:
            vector = self.normaliser(torch.from_numpy(vector)).numpy()
        return vector, images

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in [-1, 1]. Shape (action_dim,).

        Args:
            observation: Raw; of the task or of its `policy_spec`.
            generator: Of the noise; None for the deterministic action.
        """
        raise NotImplementedError

    def forward(self, *terms: torch.Tensor) -> torch.Tensor:
        """Return deterministic actions in [-1, 1]: the function that is exported to the bundle.

        It is tanh of the head's first outputs, one for each action.

        Args:
            terms: Raw, one tensor a term in the order of `policy_spec`. Shape (B, *shape of the term), uint8
                for an image, else float32.
        """
        inputs = self.normalised(self.inputs.of_terms(self._names, terms))
        return torch.tanh(self.network.first_outputs(inputs, self.action_dim))

    def describe(self, graph: "GraphDraft") -> str:
        """Write `forward` down, and return the name of the actions.

        A kind with a `forward` of its own has a `describe` of its own; without one it is traced, which takes
        seconds more.

        Args:
            graph: Its inputs have the names of the terms, and `noise`.
        """
        vector, images = self.describe_inputs(graph)
        return graph.add("Tanh", [self.network.describe(graph, vector, images, self.action_dim)], "squashed")

    def describe_inputs(self, graph: "GraphDraft") -> tuple[str | None, tuple[str, ...]]:
        """Write `normalised` down; return the names of the vector, or None for none, and of the images."""
        vector, images = self.inputs.describe(graph)
        if self.normaliser is not None and vector is not None:
            vector = self.normaliser.describe(graph, vector)
        return vector, images
