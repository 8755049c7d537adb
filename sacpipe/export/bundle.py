"""Exports a network to a verified bundle: ONNX graph, parity check, golden sequence, contract."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from sacpipe.bundle.canonical_json import FORMAT_VERSION
from sacpipe.bundle.contract import Contract, GoldenTerms, OnnxTerms, Provenance, check_guards
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.guard_settings import Envelope, GuardSettings
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.errors import ExportError
from sacpipe.export.config import ExportConfig
from sacpipe.export.onnx import export_policy
from sacpipe.export.parity import ParityReport, check_parity
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray


class Evidence(NamedTuple):
    """Observations of the training, and the origin of the network."""

    observations: FloatArray
    """Recorded observations, from the first step of an episode on. Shape (N, observation_dim)."""
    low: FloatArray
    """Lowest value of each observation entry in training. Shape (observation_dim,)."""
    high: FloatArray
    """Highest value of each observation entry in training. Shape (observation_dim,)."""
    provenance: Provenance
    """Name of the algorithm, and digests of the policy and of its training data."""


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
    guards: GuardSettings,
) -> ExportReport:
    """Export a network, compare it with its export, and write the bundle.

    Args:
        folder: Folder of the bundle; an existing bundle is replaced.
        module: The network, as for `export_policy`.
        spec: The task.
        config: The `export` section of params.yaml.
        evidence: Observations and origin; the first `config.golden_steps` observations become the golden
            sequence.
        guards: Thresholds and fallbacks of the robot's runtime.

    Raises:
        ExportError: the network cannot be exported, or too few observations were recorded.
        ConfigError: the guards do not fit the task.
        ParityError: network and export differ by more than the tolerance.
        BundleError: `folder` exists and is not a bundle.
        StorageError: the disk is full or the folder cannot be written.
    """
    recorded, steps = evidence.observations, config.golden_steps
    _check_golden_steps(steps, len(recorded))
    check_guards(guards, spec)
    network = copy.deepcopy(module).to("cpu").eval()
    policy_onnx = export_policy(network, spec, config.opset_version)
    parity = check_parity(network, policy_onnx, spec, recorded, config.parity_tolerance)
    contract = Contract(
        format_version=FORMAT_VERSION,
        spec=spec,
        onnx=_onnx_terms(policy_onnx),
        parity=parity.terms(),
        golden=GoldenTerms(tolerance=config.parity_tolerance, num_steps=steps),
        guards=guards,
        envelope=Envelope(low=tuple(evidence.low.tolist()), high=tuple(evidence.high.tolist())),
        provenance=evidence.provenance,
    )
    golden = Golden(recorded[:steps], parity.golden_actions[:steps])
    return ExportReport(write_bundle(folder, policy_onnx, contract, golden), parity)


def _check_golden_steps(steps: int, num_recorded: int) -> None:
    """Check that enough observations were recorded for the golden sequence."""
    if num_recorded < steps:
        raise ExportError(
            f"the golden sequence needs {steps} recorded observations, found {num_recorded}. "
            "Lower export.golden_steps or train longer."
        )


def _onnx_terms(policy_onnx: bytes) -> OnnxTerms:
    """Return the contract's section about policy.onnx."""
    return OnnxTerms(
        input_name="observation",
        input_dtype="float32",
        output_name="action",
        output_dtype="float32",
        **read_graph(policy_onnx)._asdict(),
    )
