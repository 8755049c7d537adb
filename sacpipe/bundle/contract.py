"""contract.json: terms, tensors, settings of the runtime and origin of a bundle (docs/bundle.md)."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from sacpipe.bundle.canonical_json import render_canonical
from sacpipe.bundle.runtime_settings import Envelope, RuntimeSettings
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_bytes
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.terms import MAX_AXES, MAX_ENTRIES, MAX_TERMS, DType, TermName, Text

MAX_GOLDEN_STEPS = 10_000
"""Maximum number of rows of golden.npz: a robot computes each before it uses the policy."""
MAX_NOISE = 10_000
"""Maximum length of the input `noise`."""
_MAX_VERSION = 1000
_MAX_NAMES = 1000

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 as 64 lower-case hexadecimal digits."""
MemberName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]
"""The registered name of a member, never an import path: nothing in a bundle chooses code."""


class OnnxInput(Config):
    """One input of policy.onnx: a term of the observation."""

    name: TermName
    """Name of the term."""
    dtype: DType
    shape: tuple[Annotated[int, Field(ge=1, le=MAX_ENTRIES)], ...] = Field(max_length=MAX_AXES)
    """Shape of one observation's array; the tensor has an axis `batch` of any size before it."""


class NoiseInput(Config):
    """The input of a stochastic policy: standard normal random numbers, float32, shape (batch, dim)."""

    name: Literal["noise"]
    dim: int = Field(ge=1, le=MAX_NOISE)
    """Random numbers of one action."""


class OnnxOutput(Config):
    """The output of policy.onnx: actions in the task's own units."""

    name: Literal["action"]
    dtype: Literal["float32"]
    shape: tuple[Annotated[int, Field(ge=1, le=MAX_TERMS)]]
    """Shape of one action; the tensor has an axis `batch` of any size before it."""


class OnnxTerms(Config):
    """Inputs, output and ONNX versions of policy.onnx."""

    inputs: tuple[OnnxInput, ...] = Field(min_length=1, max_length=MAX_TERMS)
    """One input for each observation term, in the order of the specification: raw observations."""
    noise: NoiseInput | None
    """A last input after those of the terms, or null for a deterministic policy."""
    output: OnnxOutput
    ir_version: int = Field(ge=1, le=_MAX_VERSION)
    """Version of the ONNX file format."""
    opset_version: int = Field(ge=1, le=_MAX_VERSION)
    """Version of the ONNX operator set."""
    operators: tuple[Text, ...] = Field(max_length=_MAX_NAMES)
    """Names of the operators in the graph, sorted, each once."""


class GoldenTerms(Config):
    """Length of golden.npz, and the difference that a runtime may show on it."""

    tolerance: float = Field(gt=0, le=1)
    """Largest difference allowed between a golden action and the runtime's, as a share of its range."""
    num_steps: int = Field(ge=1, le=MAX_GOLDEN_STEPS)
    """Rows of golden.npz."""


class Provenance(Config):
    """Origin of a policy."""

    algorithm: MemberName
    """Registered name of the algorithm, e.g. `sac`."""
    digests: dict[Text, Sha256] = Field(max_length=_MAX_NAMES)
    """SHA-256 of each input of the training, by name, e.g. `policy`, `pool`, `params`."""


class Contract(Config):
    """The whole of contract.json. Numbers keep their full precision."""

    format_version: Literal[3]
    spec: EnvSpec
    """Task, observation terms of the policy, action terms, control period and time limit."""
    onnx: OnnxTerms
    golden: GoldenTerms
    runtime: RuntimeSettings
    """Guards, fallbacks and settings of the robot's runtime."""
    envelope: Envelope
    """Range of each float32 term in training, and the longest run of equal values of each term."""
    provenance: Provenance
    """Origin of the policy."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_names(self.spec)
        _check_tensors(self.onnx, self.spec)
        _check_envelope(self.envelope, self.spec)
        check_runtime_terms(self.runtime, self.spec)
        return self


def onnx_inputs(spec: EnvSpec) -> tuple[OnnxInput, ...]:
    """Return the inputs of policy.onnx, one for each observation term, in the order of the specification."""
    return tuple(OnnxInput(name=term.name, dtype=term.dtype, shape=term.shape) for term in spec.observation)


def onnx_output(spec: EnvSpec) -> OnnxOutput:
    """Return the output of policy.onnx."""
    return OnnxOutput(name="action", dtype="float32", shape=(spec.action_dim,))


def contract_sha256(contract: Contract) -> str:
    """Return the SHA-256 of a contract's only possible contract.json."""
    return sha256_bytes(render_canonical(contract))


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
            f"runtime.safe_action: expected {len(bounds)} numbers within {bounds}, found {list(safe_action)}"
        )


def check_runtime_terms(runtime: RuntimeSettings, spec: EnvSpec) -> None:
    """Check that settings of the runtime fit the terms of a policy.

    Raises:
        ValueError: the safe action does not fit the actions, or a term is unknown.
    """
    if runtime.safe_action is not None:
        check_safe_action(runtime.safe_action, spec)
    check_term_ages(runtime, spec)
    for guard in runtime.guards:
        guard.check_task(spec)


def check_term_ages(runtime: RuntimeSettings, spec: EnvSpec) -> None:
    """Check that each age limit is of a term of the policy.

    Raises:
        ValueError: a term is unknown.
    """
    names = [term.name for term in spec.observation]
    if unknown := sorted(runtime.term_max_age_periods.keys() - set(names)):
        raise ValueError(
            f"runtime.term_max_age_periods: expected names among {', '.join(names)}, found '{unknown[0]}'"
        )


def check_runtime(runtime: RuntimeSettings, spec: EnvSpec) -> None:
    """Check that the `runtime` section of params.yaml fits a task.

    Raises:
        ConfigError: the safe action or a term's name does not fit the task.
    """
    try:
        check_runtime_terms(runtime, spec.policy_spec)
    except ValueError as exc:
        raise ConfigError(
            f"params.yaml: {exc}. `sacpipe tasks {spec.task}` prints the task's terms; null is a safe action "
            "of zero."
        ) from exc


def _check_names(spec: EnvSpec) -> None:
    if others := [term.name for term in spec.observation if "policy" not in term.groups]:
        raise ValueError(f"spec.observation: expected terms of the group `policy` only, found '{others[0]}'")


def _check_tensors(onnx: OnnxTerms, spec: EnvSpec) -> None:
    expected = onnx_inputs(spec)
    if onnx.inputs != expected:
        pairs = zip(expected, onnx.inputs, strict=False)
        place = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
        fault = f"{len(expected)} inputs, found {len(onnx.inputs)}"
        if place is not None:
            fault = f"{expected[place]!r} as input {place}, found {onnx.inputs[place]!r}"
        raise ValueError(f"onnx.inputs: expected one for each term, in order: {fault}")
    if onnx.output != onnx_output(spec):
        raise ValueError(
            f"onnx.output: expected shape [{spec.action_dim}], one number for each action term, found "
            f"{list(onnx.output.shape)}"
        )


def _check_envelope(envelope: Envelope, spec: EnvSpec) -> None:
    numbers = {term.name: term.size for term in spec.layout.vector_terms}
    for key, found in (("low", envelope.low), ("high", envelope.high)):
        sizes = {name: len(values) for name, values in found.items()}
        if sizes != numbers:
            raise ValueError(f"envelope.{key}: expected the sizes {numbers}, found {sizes}")
    names = {term.name for term in spec.observation}
    if envelope.longest_constant.keys() != names:
        raise ValueError(
            f"envelope.longest_constant: expected the terms {', '.join(sorted(names))}, found "
            f"{', '.join(sorted(envelope.longest_constant)) or 'none'}"
        )
