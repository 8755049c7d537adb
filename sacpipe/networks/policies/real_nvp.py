"""The latent-space policy: an invertible network (real NVP) from a normal latent to an action.

References:
    Dinh et al. 2017, arXiv:1605.08803; Haarnoja et al. 2018, arXiv:1804.02808.
"""

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import nn

from sacpipe.core.config import Config
from sacpipe.networks.inputs import Inputs
from sacpipe.networks.mlp import StackedLinear
from sacpipe.networks.policies.reparameterised import Draw, ReparameterisedPolicy, squashed_log_density
from sacpipe.networks.trunks import RegisteredTrunk
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft

_LARGEST_ACTION = 1.0 - 1e-6
"""Actions beyond it are taken there before atanh: 1 itself has no finite preimage."""


class RealNVPConfig(Config):
    """Invertible network from a normal latent to an action, conditioned on the observation."""

    kind: ClassVar[str] = "real_nvp"

    trunk: RegisteredTrunk
    """Network from the observation to features."""
    num_couplings: int = Field(ge=2, le=64)
    """Affine coupling layers; each changes one half of the action, by turns."""
    coupling_dim: int = Field(ge=1)
    """Hidden units of each coupling's network."""
    max_log_scale: float = Field(gt=0)
    """Bound of the log scale of one coupling, in nats, either way."""
    normalised_terms: tuple[str, ...]
    """Terms that the policy normalises."""

    def build(self, spec: EnvSpec) -> "RealNVPPolicy":
        """Return a network whose parameters are not drawn yet."""
        return RealNVPPolicy(spec, self)


class Flow(NamedTuple):
    """A latent taken through couplings, or back."""

    values: torch.Tensor
    """Shape (B, action_dim)."""
    log_scales: torch.Tensor
    """Log slopes by dimension; their sum is log |det| of the Jacobian from latent to action before tanh.
    Shape (B, action_dim)."""


class Coupling(nn.Module):
    """Changes one half of a vector: y = x exp(s) + t, where s and t are functions of the other half.

    They are also functions of the context, which is what the observation adds to the hidden layer. The last
    layer begins at zero, so that a new coupling changes nothing.
    """

    def __init__(self, kept_dim: int, changed_dim: int, config: RealNVPConfig) -> None:
        super().__init__()
        self.kept = nn.Parameter(torch.zeros(kept_dim, config.coupling_dim))
        """Weights of the kept half in the hidden layer."""
        self.output = StackedLinear(1, config.coupling_dim, 2 * changed_dim)
        self.max_log_scale = config.max_log_scale

    def reset(self, generator: torch.Generator) -> None:
        """Draw Glorot-uniform weights of the hidden layer; the last layer is zero."""
        bound = (6.0 / sum(self.kept.shape)) ** 0.5
        with torch.no_grad():
            self.kept.uniform_(-bound, bound, generator=generator)
            self.output.weight.zero_()
            self.output.bias.zero_()

    def forward(self, kept: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return shift t and log scale s of the other half, |s| < max_log_scale. Shapes (B, changed_dim).

        Args:
            kept: Shape (B, kept_dim).
            context: Shape (B, coupling_dim).
        """
        hidden = torch.relu(torch.addmm(context, kept, self.kept))
        shift, raw = self.output(hidden).chunk(2, dim=-1)
        return shift, self.max_log_scale * torch.tanh(raw / self.max_log_scale)

    def describe(
        self, graph: "GraphDraft", kept: str | None, changed: str | None, context: str, name: str
    ) -> str:
        """Write the changed half down, and return its name; None is a half of zeros."""
        if kept is not None:
            weights = graph.constant(f"{name}_kept_weight", self.kept.detach().numpy())
            context = graph.add(
                "Add", [context, graph.add("MatMul", [kept, weights], f"{name}_kept")], f"{name}_sum"
            )
        weight, bias = self.output.arrays()
        size = len(bias) // 2
        found = graph.linear(graph.add("Relu", [context], f"{name}_hidden"), weight, bias, f"{name}_output")
        shift = graph.columns(found, 0, size, f"{name}_shift")
        if changed is None:
            return shift
        bound = graph.constant(f"{name}_bound", self.max_log_scale)
        raw = graph.add("Div", [graph.columns(found, size, 2 * size, f"{name}_raw"), bound], f"{name}_share")
        log_scale = graph.add(
            "Mul", [graph.add("Tanh", [raw], f"{name}_bounded"), bound], f"{name}_log_scale"
        )
        scaled = graph.add("Mul", [changed, graph.add("Exp", [log_scale], f"{name}_scale")], f"{name}_scaled")
        return graph.add("Add", [scaled, shift], f"{name}_changed")


class RealNVPPolicy(ReparameterisedPolicy):
    """Maps raw observations and a latent h ~ N(0, I) to actions a = tanh(u), where u = f(h; observation).

    f is a chain of couplings that change the second half of the vector and the first by turns, so that h and
    the density of an action are computed exactly. An action of one dimension has no other half: its f is one
    affine map, whose shift and scale are functions of the observation. The deterministic action, which the
    bundle has, is that of the latent 0.
    """

    def __init__(self, spec: EnvSpec, config: RealNVPConfig) -> None:
        first_dim = spec.action_dim // 2
        halves = (first_dim, spec.action_dim - first_dim)
        count = config.num_couplings if first_dim else 1
        super().__init__(spec, config.trunk, count * config.coupling_dim, config.normalised_terms)
        self._halves = halves
        self._chain = tuple(
            Coupling(halves[place % 2], halves[1 - place % 2], config) for place in range(count)
        )
        self.couplings = nn.ModuleList(self._chain)
        self._no_latent = np.zeros(spec.action_dim, dtype=np.float32)

    def reset(self, generator: torch.Generator) -> None:
        """Draw the trunk's and the head's parameters, then those of each coupling."""
        super().reset(generator)
        for coupling in self._chain:
            coupling.reset(generator)

    def _split(self, values: torch.Tensor) -> list[torch.Tensor]:
        return [values[:, : self._halves[0]], values[:, self._halves[0] :]]

    def flow(self, inputs: Inputs, latents: torch.Tensor | None) -> Flow:
        """Take latents to actions before tanh.

        Args:
            inputs: B raw observations.
            latents: Shape (B, action_dim); None for zeros.
        """
        contexts = self.output(inputs)
        if latents is None:  # in a way that an exporter can trace for any B
            latents = contexts[:, :1] * torch.zeros(self.action_dim)
        return self._through(contexts, latents)

    def _through(self, contexts: torch.Tensor, values: torch.Tensor, *, backwards: bool = False) -> Flow:
        """Take values through the couplings. Contexts of shape (B, couplings x coupling_dim)."""
        halves = self._split(values)
        log_scales = [torch.zeros_like(half) for half in halves]
        parts = contexts.chunk(len(self._chain), dim=-1)
        couplings = list(enumerate(zip(self._chain, parts, strict=True)))
        for place, (coupling, context) in reversed(couplings) if backwards else couplings:
            kept, changed = place % 2, 1 - place % 2
            shift, log_scale = coupling(halves[kept], context)
            half = halves[changed]
            halves[changed] = (
                (half - shift) * (-log_scale).exp() if backwards else half * log_scale.exp() + shift
            )
            log_scales[changed] = log_scales[changed] + log_scale
        return Flow(torch.cat(halves, dim=-1), torch.cat(log_scales, dim=-1))

    def inverse(self, inputs: Inputs, unsquashed: torch.Tensor) -> Flow:
        """Take actions before tanh back to latents; the log scales are those of `flow`.

        Args:
            inputs: B raw observations.
            unsquashed: Shape (B, action_dim).
        """
        return self._through(self.output(inputs), unsquashed, backwards=True)

    def sample(self, inputs: Inputs, noise: torch.Tensor) -> Draw:
        """Return the actions of latents; see `ReparameterisedPolicy.sample`."""
        unsquashed, log_scales = self.flow(inputs, noise)
        return Draw(torch.tanh(unsquashed), squashed_log_density(noise, log_scales, unsquashed), log_scales)

    def log_densities(self, inputs: Inputs, actions: torch.Tensor) -> torch.Tensor:
        """Return log pi(a|s) in nats of given actions. Shape (B,).

        Args:
            inputs: B raw observations.
            actions: In [-1, 1]; what is nearer to a bound than 1e-6 is taken there. Shape (B, action_dim).
        """
        unsquashed = torch.atanh(actions.clamp(-_LARGEST_ACTION, _LARGEST_ACTION))
        latents, log_scales = self.inverse(inputs, unsquashed)
        return squashed_log_density(latents, log_scales, unsquashed)

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in [-1, 1]; see `PolicyNetwork.act`."""
        if generator is None:
            return self.act_of_latent(observation, self._no_latent)
        return self.act_of_latent(observation, generator.standard_normal(self.action_dim, dtype=np.float32))

    @torch.no_grad()
    def act_of_latent(self, observation: Observation, latent: FloatArray) -> FloatArray:
        """Return the action of one latent, in [-1, 1]. Shapes (action_dim,)."""
        unsquashed = self.single_flow(observation, torch.from_numpy(latent[None]))
        action: FloatArray = torch.tanh(unsquashed)[0].numpy()
        return action

    def single_flow(self, observation: Observation, latent: torch.Tensor) -> torch.Tensor:
        """Return the action before tanh of one raw observation and one latent. Shapes (1, action_dim)."""
        return self._through(torch.from_numpy(self.single_output(observation)[None]), latent).values

    def forward(self, *terms: torch.Tensor) -> torch.Tensor:
        """Return the actions of the latent 0; see `PolicyNetwork.forward`."""
        return torch.tanh(self.flow(self.inputs.of_terms(self._names, terms), None).values)

    def describe(self, graph: "GraphDraft") -> str:
        """Write `forward` down; see `PolicyNetwork.describe`."""
        return graph.add("Tanh", [self.describe_flow(graph, None)], "squashed")

    def describe_flow(self, graph: "GraphDraft", latent: str | None) -> str:
        """Write the actions before tanh down, and return their name.

        Args:
            graph: Its inputs have the names of the terms.
            latent: Name of the latents; None for zeros.
        """
        chain, (first_dim, second_dim) = self._chain, self._halves
        size = len(chain[0].output.weight[0])
        contexts = self.network.describe(graph, *self.describe_inputs(graph), len(chain) * size)
        halves: list[str | None] = [None, None]
        if latent is not None:
            halves[0] = graph.columns(latent, 0, first_dim, "first_half") if first_dim else None
            halves[1] = graph.columns(latent, first_dim, first_dim + second_dim, "second_half")
        for place, coupling in enumerate(chain):
            kept, changed = place % 2, 1 - place % 2
            context = graph.columns(contexts, place * size, (place + 1) * size, f"context_{place}")
            halves[changed] = coupling.describe(
                graph, halves[kept], halves[changed], context, f"coupling_{place}"
            )
        return graph.joined(halves, "unsquashed")
