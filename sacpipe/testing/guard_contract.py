"""A small task for the contract test of guards: two vectors and an image in, two actions out."""

from collections.abc import Iterator

import numpy as np

from sacpipe.bundle.canonical_json import FORMAT_VERSION
from sacpipe.bundle.contract import Contract, GoldenTerms, OnnxTerms, Provenance, onnx_inputs, onnx_output
from sacpipe.bundle.guards import GuardConfig
from sacpipe.bundle.policy_graph import GraphFacts
from sacpipe.bundle.runtime_settings import Envelope, RuntimeSettings
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.terms import BOTH, ActionTerm, Term, vector_term

_NUM_OBSERVATIONS = 64
_NO_GRAPH = GraphFacts(ir_version=10, opset_version=20, operators=())


def example_contract(
    spec: EnvSpec, guards: tuple[GuardConfig, ...], graph: GraphFacts = _NO_GRAPH, num_steps: int = 1
) -> Contract:
    """Return the contract of a task, with an envelope from -1 to 1 and guards beside the defaults.

    Args:
        spec: The task.
        guards: Guards of the runtime.
        graph: What the contract states of policy.onnx; by default, a graph without operators.
        num_steps: Number of golden observations.
    """
    high = {term.name: (1.0,) * term.size for term in spec.layout.vector_terms}
    low = {name: tuple(-value for value in values) for name, values in high.items()}
    return Contract(
        format_version=FORMAT_VERSION,
        spec=spec,
        onnx=OnnxTerms(
            inputs=onnx_inputs(spec),
            noise=None,
            output=onnx_output(spec),
            **graph._asdict(),
        ),
        golden=GoldenTerms(tolerance=1e-5, num_steps=num_steps),
        runtime=RuntimeSettings(
            safe_action=None,
            max_last_steps=5,
            blend_steps=0,
            ramp_steps=0,
            stop_category=1,
            watchdog_periods=None,
            term_max_age_periods={},
            guards=guards,
        ),
        envelope=Envelope(low=low, high=high, longest_constant={term.name: 1 for term in spec.observation}),
        provenance=Provenance(algorithm="sac", digests={}),
    )


def example_spec() -> EnvSpec:
    """Return the task."""
    image = Term(name="camera", shape=(4, 4, 3), dtype="uint8", unit="1", source="camera", groups=BOTH)
    return EnvSpec(
        task="example/Reach-v0",
        observation=(
            vector_term("position", 3, unit="m", source="encoders"),
            vector_term("velocity", 2, unit="m/s", source="tachometers"),
            image,
        ),
        action=tuple(ActionTerm(name=name, unit="N m", low=-1.0, high=1.0) for name in ("arm", "wrist")),
        control_period_s=0.02,
        max_episode_steps=None,
    )


def example_observations(spec: EnvSpec) -> Iterator[Observation]:
    """Yield different observations inside the envelope."""
    generator = np.random.default_rng(0)
    for _ in range(_NUM_OBSERVATIONS):
        observation = spec.layout.empty()
        observation.vector[:] = generator.uniform(-0.5, 0.5, spec.observation_dim)
        for image in observation.images.values():
            image[...] = generator.integers(0, 256, image.shape)
        yield observation
