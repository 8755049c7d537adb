"""contract.json: terms, bounds and tolerances of a bundle. docs/bundle.md defines the format."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from sacpipe.bundle.canonical_json import render_canonical
from sacpipe.bundle.guard_settings import Envelope, GuardSettings
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_bytes
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.terms import Text

MAX_GOLDEN_STEPS = 10_000
"""Maximum number of rows of golden.npz: a robot computes each before it uses the policy."""
_MAX_VERSION = 1000
_MAX_NAMES = 1000
_MAX_ERROR = 10.0
_MAX_OBSERVATIONS = 10**9

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 as 64 lower-case hexadecimal digits."""


class OnnxTerms(Config):
    """Input, output and ONNX versions of policy.onnx."""

    input_name: Literal["observation"]
    """Name of the input: raw observations. Shape (batch, observation_dim), any batch."""
    input_dtype: Literal["float32"]
    output_name: Literal["action"]
    """Name of the output: actions in the task's own units. Shape (batch, action_dim)."""
    output_dtype: Literal["float32"]
    ir_version: int = Field(ge=1, le=_MAX_VERSION)
    """Version of the ONNX file format."""
    opset_version: int = Field(ge=1, le=_MAX_VERSION)
    """Version of the ONNX operator set."""
    operators: tuple[Text, ...] = Field(max_length=_MAX_NAMES)
    """Names of the operators in the graph, sorted, each once."""


class ParityTerms(Config):
    """Measured difference between policy.onnx and the network it was exported from."""

    tolerance: float = Field(gt=0, le=1)
    """Largest difference allowed, as a share of the action's range."""
    max_error: float = Field(ge=0, le=1)
    """Largest difference found on recorded observations, as a share of the action's range."""
    synthetic_max_error: float = Field(ge=0, le=_MAX_ERROR)
    """Largest difference found on random and boundary observations, where the network may be
    ill-conditioned; as a share of the action's range."""
    num_observations: int = Field(ge=1, le=_MAX_OBSERVATIONS)
    """Number of observations compared, recorded and synthetic."""

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.max_error > self.tolerance:
            raise ValueError(f"max_error {self.max_error} is above the tolerance {self.tolerance}")
        return self


class GoldenTerms(Config):
    """Length of golden.npz, and the difference that a runtime may show on it."""

    tolerance: float = Field(gt=0, le=1)
    """Largest difference allowed between a golden action and the runtime's, as a share of its range."""
    num_steps: int = Field(ge=1, le=MAX_GOLDEN_STEPS)
    """Rows of golden.npz."""


class Provenance(Config):
    """Origin of a policy."""

    algorithm: Text
    """Name of the algorithm, e.g. `sac`."""
    digests: dict[Text, Sha256] = Field(max_length=_MAX_NAMES)
    """SHA-256 of each input of the training, by name, e.g. `policy`, `pool`, `params`."""


def check_safe_action(safe_action: tuple[float, ...], spec: EnvSpec) -> None:
    """Check that a safe action has the length and the bounds of the task's actions.

    Raises:
        ValueError: a number is missing, too many, or outside its bounds.
    """
    bounds = [(term.low, term.high) for term in spec.action]
    fits = len(safe_action) == len(bounds) and all(
        low <= value <= high for value, (low, high) in zip(safe_action, bounds, strict=True)
    )
    if not fits:
        raise ValueError(
            f"guards.safe_action: expected {len(bounds)} numbers within {bounds}, found {list(safe_action)}"
        )


def check_guards(guards: GuardSettings, spec: EnvSpec) -> None:
    """Check that the `guards` section of params.yaml fits a task.

    Raises:
        ConfigError: the safe action has another length than the task's actions, or is outside their bounds.
    """
    if guards.safe_action is not None:
        try:
            check_safe_action(guards.safe_action, spec)
        except ValueError as exc:
            raise ConfigError(
                f"params.yaml: {exc}. Give one number for each action of {spec.task}, or null for zero."
            ) from exc


class Contract(Config):
    """The whole of contract.json. Numbers keep their full precision."""

    format_version: Literal[2]
    spec: EnvSpec
    """Task, observation terms in order, action terms in order, control period and time limit."""
    onnx: OnnxTerms
    parity: ParityTerms
    golden: GoldenTerms
    guards: GuardSettings
    """Thresholds and fallbacks of the robot's runtime."""
    envelope: Envelope
    """Range of each observation entry in training."""
    provenance: Provenance
    """Origin of the policy."""

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
    """Return the SHA-256 of a contract's only possible contract.json."""
    return sha256_bytes(render_canonical(contract))
