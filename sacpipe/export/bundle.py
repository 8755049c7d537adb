"""Exports a network to a verified bundle: ONNX graph, parity check, golden sequence, contract."""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sacpipe.bundle.canonical_json import FORMAT_VERSION
from sacpipe.bundle.contract import Contract, GoldenTerms, check_runtime
from sacpipe.bundle.files import MAX_BYTES
from sacpipe.bundle.golden import Golden, golden_bytes
from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.errors import ExportError, ParityError
from sacpipe.export.config import ExportConfig
from sacpipe.export.evidence import Evidence
from sacpipe.export.inputs import noise_dim_of, recorded_inputs
from sacpipe.export.onnx import export_policy, onnx_terms
from sacpipe.export.parity import ParityReport, check_parity
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

_NUMBER_BYTES = 48
"""Bytes of one number of the envelope in contract.json, at most."""
_OTHER_BYTES = 2**18
"""Share of contract.json that is left to everything but the envelope."""


@dataclass(frozen=True, eq=False)
class ExportReport:
    """Result of an export."""

    bundle_digest: str
    """SHA-256 of the bundle's manifest.json."""
    parity: ParityReport


def export_bundle(
    folder: Path,
    module: torch.nn.Module,
    spec: EnvSpec,
    config: ExportConfig,
    evidence: Evidence,
    runtime: RuntimeSettings,
) -> ExportReport:
    """Export a network, compare it with its export, and write the bundle.

    Args:
        folder: Folder of the bundle; an existing bundle is replaced.
        module: The network, as for `export_policy`.
        spec: The task; the bundle has its `policy_spec`.
        config: The `export` section of params.yaml.
        evidence: Observations and origin; the first `config.golden_steps` observations become the golden
            sequence.
        runtime: Guards and settings of the robot's runtime.

    Raises:
        ExportError: the network cannot be exported, or too few observations were recorded.
        ConfigError: the settings of the runtime do not fit the task.
        ParityError: network and export differ by more than the tolerance.
        BundleError: `folder` exists and is not a bundle.
        StorageError: the disk is full or the folder cannot be written.
    """
    spec, steps = spec.policy_spec, config.golden_steps
    network, noise_dim = copy.deepcopy(module).to("cpu").eval(), noise_dim_of(module)
    recorded = recorded_inputs(evidence.observations, noise_dim)
    _check_golden_steps(steps, len(recorded))
    _check_sizes(spec, steps, noise_dim)
    check_runtime(runtime, spec)
    policy_onnx = export_policy(network, spec, config.opset_version)
    parity = check_parity(network, policy_onnx, spec, recorded, config.parity_tolerance)
    contract = Contract(
        format_version=FORMAT_VERSION,
        spec=spec,
        onnx=onnx_terms(policy_onnx, spec, noise_dim),
        golden=GoldenTerms(tolerance=config.parity_tolerance, num_steps=steps),
        runtime=runtime,
        envelope=evidence.envelope,
        provenance=evidence.provenance,
    )
    noise = None if recorded.noise is None else recorded.noise[:steps]
    actions = _golden_actions(evidence, parity, spec)[:steps]
    golden = Golden(recorded.observations.rows(slice(steps)), actions, noise)
    return ExportReport(write_bundle(folder, policy_onnx, contract, golden), parity)


def _golden_actions(evidence: Evidence, parity: ParityReport, spec: EnvSpec) -> FloatArray:
    """Return the engine's actions, compared with onnxruntime's, or these.

    Raises:
        ParityError: a robot would refuse the bundle.
    """
    own = evidence.golden_actions
    if own is None:
        return parity.golden_actions
    span = spec.action_high.astype(np.float64) - spec.action_low
    error = float((np.abs(own - parity.golden_actions[: len(own)].astype(np.float64)) / span).max())
    if not error <= parity.tolerance:
        raise ParityError(
            f"the engine's actions and policy.onnx differ by {error:.3g} of the action's range on the golden "
            f"sequence; expected at most export.parity_tolerance, {parity.tolerance:g}. Raise it."
        )
    return own


def check_export(module: torch.nn.Module, spec: EnvSpec, config: ExportConfig) -> None:
    """Export a network that is not trained yet and compare it with its export, without writing a bundle.

    What cannot be exported fails so before the first training step. It takes about two seconds where the
    network is traced, else a tenth of a second.

    Args:
        module: The network, as for `export_policy`.
        spec: The task.
        config: The `export` section of params.yaml.

    Raises:
        ExportError: the network cannot be exported, or its bundle would be larger than a robot reads.
        ParityError: network and export differ by more than the tolerance.
    """
    spec, noise_dim = spec.policy_spec, noise_dim_of(module)
    _check_sizes(spec, config.golden_steps, noise_dim)
    network = copy.deepcopy(module).to("cpu").eval()
    policy_onnx = export_policy(network, spec, config.opset_version)
    zeros = spec.layout.pack({term.name: np.zeros((1, *term.shape)) for term in spec.observation})
    check_parity(network, policy_onnx, spec, recorded_inputs(zeros, noise_dim), config.parity_tolerance)


def _check_golden_steps(steps: int, num_recorded: int) -> None:
    """Check that enough observations were recorded for the golden sequence."""
    if num_recorded < steps:
        raise ExportError(
            f"the golden sequence needs {steps} recorded observations, found {num_recorded}. "
            "Lower export.golden_steps or train longer."
        )


def _check_sizes(spec: EnvSpec, steps: int, noise_dim: int | None) -> None:
    """Check that golden.npz and contract.json stay within the sizes that a robot reads."""
    max_bytes = MAX_BYTES["golden.npz"] - 2**10 * (len(spec.observation) + 3)
    per_step = golden_bytes(spec, 1, noise_dim)
    if steps * per_step > max_bytes:
        raise ExportError(
            f"export.golden_steps: expected at most {max_bytes // per_step} observations of {per_step} "
            f"bytes, because golden.npz has at most {MAX_BYTES['golden.npz']} bytes; found {steps}. Lower it."
        )
    entries = (MAX_BYTES["contract.json"] - _OTHER_BYTES) // (2 * _NUMBER_BYTES)
    if spec.observation_dim > entries:
        raise ExportError(
            f"{spec.task}: expected at most {entries} float32 entries in the policy's terms, because "
            f"contract.json lists the range of each, found {spec.observation_dim}. Make images uint8 terms."
        )
