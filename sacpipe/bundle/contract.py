"""contract.json: what a bundle promises. docs/bundle.md is the format's page."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from sacpipe.bundle.canonical_json import render_canonical
from sacpipe.bundle.guard_settings import Envelope, GuardSettings
from sacpipe.core.config import Config
from sacpipe.core.files import sha256_bytes
from sacpipe.specs.env_spec import EnvSpec

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class OnnxTerms(Config):
    """The two tensors of policy.onnx and what a runtime must know to run it."""

    input_name: Literal["observation"]
    """Raw observations. Shape (batch, observation_dim), any batch."""
    input_dtype: Literal["float32"]
    output_name: Literal["action"]
    """Actions in the task's own units. Shape (batch, action_dim)."""
    output_dtype: Literal["float32"]
    ir_version: int
    opset_version: int
    operators: tuple[str, ...]
    """Sorted, each once."""


class ParityTerms(Config):
    """How far policy.onnx is from the network it was exported from."""

    tolerance: float = Field(gt=0)
    """Largest difference allowed, as a share of the action's range."""
    max_error: float = Field(ge=0)
    """Largest difference found on recorded observations, as a share of the action's range."""
    synthetic_max_error: float = Field(ge=0)
    """The same on random and extreme observations, where the policy itself may be ill-conditioned."""
    num_observations: int = Field(ge=1)
    """Observations compared, recorded and synthetic."""

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.max_error > self.tolerance:
            raise ValueError(f"max_error {self.max_error} is above the tolerance {self.tolerance}")
        return self


class GoldenTerms(Config):
    """How golden.npz is judged."""

    tolerance: float = Field(gt=0)
    """Largest difference a runtime may show, as a share of the action's range."""
    num_steps: int = Field(ge=1)


class Provenance(Config):
    """Where a policy came from."""

    algorithm: str
    digests: dict[str, Sha256]
    """What it was made of: name to SHA-256, e.g. `policy`, `pool`, `params`."""


def check_safe_action(safe_action: tuple[float, ...], spec: EnvSpec) -> None:
    """Raise ValueError where a safe action is none of the task's."""
    bounds = [(term.low, term.high) for term in spec.action]
    fits = len(safe_action) == len(bounds) and all(
        low <= value <= high for value, (low, high) in zip(safe_action, bounds, strict=True)
    )
    if not fits:
        raise ValueError(
            f"guards.safe_action: expected {len(bounds)} numbers within {bounds}, found {list(safe_action)}"
        )


class Contract(Config):
    """What a bundle promises. Numbers keep their full precision."""

    format_version: Literal[2]
    spec: EnvSpec
    """Task, observation terms in order, action terms in order, clock and time limit."""
    onnx: OnnxTerms
    parity: ParityTerms
    golden: GoldenTerms
    guards: GuardSettings
    """What a robot's runtime refuses, and what it does then."""
    envelope: Envelope
    """Where training has been."""
    provenance: Provenance

    @model_validator(mode="after")
    def _widths(self) -> Self:
        spec, safe = self.spec, self.guards.safe_action
        if len(self.envelope.low) != spec.observation_dim:
            raise ValueError(
                f"envelope: expected {spec.observation_dim} entries, found {len(self.envelope.low)}"
            )
        if safe is not None:
            check_safe_action(safe, spec)
        return self


def contract_sha256(contract: Contract) -> str:
    """Return the SHA-256 of the contract.json that holds a contract: there is but one."""
    return sha256_bytes(render_canonical(contract))
