"""The export stage's work: network in, verified bundle out."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch

from sacpipe.core.bundle import FORMAT_VERSION, Contract, GoldenTerms, OnnxTerms, Provenance, write_bundle
from sacpipe.core.errors import ExportError
from sacpipe.core.golden import Golden
from sacpipe.core.policy_graph import read_graph
from sacpipe.core.records import EnvSpec, FloatArray
from sacpipe.export.config import ExportConfig
from sacpipe.export.onnx import export_policy
from sacpipe.export.parity import ParityReport, check_parity


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
    recorded: FloatArray,
    provenance: Provenance,
) -> ExportReport:
    """Export a network, compare both, and write the bundle.

    Args:
        folder: Where the bundle goes; one that stands there is replaced.
        module: As for `export_policy`.
        spec: The task.
        config: The `export` section of params.yaml.
        recorded: Observations of the task, from the first step of an episode on; the first
            `config.golden_steps` become the golden sequence. Shape (N, observation_dim).
        provenance: The algorithm's name and the digests of what the network was made of.

    Raises:
        ExportError: the network cannot be exported, or too few observations were recorded.
        ParityError: network and export disagree.
        BundleError: something that is no bundle stands at `folder`.
        StorageError: the disk is full or the folder cannot be written.
    """
    if len(recorded) < config.golden_steps:
        raise ExportError(
            f"the golden sequence needs {config.golden_steps} recorded observations, found {len(recorded)}. "
            "Lower export.golden_steps or train longer."
        )
    network = copy.deepcopy(module).to("cpu").eval()
    policy_onnx = export_policy(network, spec, config.opset_version)
    parity = check_parity(network, policy_onnx, spec, recorded, config.parity_tolerance)
    contract = Contract(
        format_version=FORMAT_VERSION,
        spec=spec,
        onnx=_onnx_terms(policy_onnx),
        parity=parity.terms(),
        golden=GoldenTerms(tolerance=config.parity_tolerance, num_steps=config.golden_steps),
        provenance=provenance,
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
