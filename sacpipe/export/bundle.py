"""The export stage's work: network in, verified bundle out."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from sacpipe.bundle.canonical_json import FORMAT_VERSION
from sacpipe.bundle.contract import Contract, GoldenTerms, OnnxTerms, Provenance, check_safe_action
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.guard_settings import Envelope, GuardSettings
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.errors import ConfigError, ExportError
from sacpipe.export.config import ExportConfig
from sacpipe.export.onnx import export_policy
from sacpipe.export.parity import ParityReport, check_parity
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray


class Evidence(NamedTuple):
    """What training saw of the task, and where the network came from."""

    observations: FloatArray
    """From the first step of an episode on. Shape (N, observation_dim)."""
    low: FloatArray
    """The lowest value of each entry, over all of training. Shape (observation_dim,)."""
    high: FloatArray
    """The highest. Shape (observation_dim,)."""
    provenance: Provenance
    """The algorithm's name and the digests of what the network was made of."""


@dataclass(frozen=True, eq=False)
class ExportReport:
    """What an export gave."""

    bundle_digest: str
    parity: ParityReport


def export_bundle(
    folder: Path,
    module: torch.nn.Module,
    spec: EnvSpec,
    config: ExportConfig,
    evidence: Evidence,
    guards: GuardSettings,
) -> ExportReport:
    """Export a network, compare both, and write the bundle.

    Args:
        folder: Where the bundle goes; one that stands there is replaced.
        module: As for `export_policy`.
        spec: The task.
        config: The `export` section of params.yaml.
        evidence: What training saw and left; the first `config.golden_steps` of its observations become the
            golden sequence.
        guards: What the robot's runtime refuses, and what it does then.

    Raises:
        ExportError: the network cannot be exported, or too few observations were recorded.
        ConfigError: the guards do not fit the task.
        ParityError: network and export disagree.
        BundleError: something that is no bundle stands at `folder`.
        StorageError: the disk is full or the folder cannot be written.
    """
    recorded = evidence.observations
    if len(recorded) < config.golden_steps:
        raise ExportError(
            f"the golden sequence needs {config.golden_steps} recorded observations, found {len(recorded)}. "
            "Lower export.golden_steps or train longer."
        )
    if guards.safe_action is not None:
        try:
            check_safe_action(guards.safe_action, spec)
        except ValueError as exc:
            raise ConfigError(f"params.yaml: {exc}.") from exc
    network = copy.deepcopy(module).to("cpu").eval()
    policy_onnx = export_policy(network, spec, config.opset_version)
    parity = check_parity(network, policy_onnx, spec, recorded, config.parity_tolerance)
    contract = Contract(
        format_version=FORMAT_VERSION,
        spec=spec,
        onnx=_onnx_terms(policy_onnx),
        parity=parity.terms(),
        golden=GoldenTerms(tolerance=config.parity_tolerance, num_steps=config.golden_steps),
        guards=guards,
        envelope=Envelope(low=tuple(evidence.low.tolist()), high=tuple(evidence.high.tolist())),
        provenance=evidence.provenance,
    )
    golden = Golden(recorded[: config.golden_steps], parity.golden_actions[: config.golden_steps])
    return ExportReport(write_bundle(folder, policy_onnx, contract, golden), parity)


def _onnx_terms(policy_onnx: bytes) -> OnnxTerms:
    return OnnxTerms(
        input_name="observation",
        input_dtype="float32",
        output_name="action",
        output_dtype="float32",
        **read_graph(policy_onnx)._asdict(),
    )
