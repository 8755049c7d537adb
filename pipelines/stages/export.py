"""Export the trained policy as a bundle, and check it against the trained network."""

import torch

from sacpipe.bundle.contract import Provenance
from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.core.config import Config
from sacpipe.core.files import sha256_file, write_json
from sacpipe.engines import EngineConfig
from sacpipe.export.bundle import export_bundle
from sacpipe.export.config import ExportConfig, ExportMetrics
from sacpipe.export.evidence import act_on, gather_evidence
from sacpipe.export.inputs import noise_dim_of
from sacpipe.networks.policy_file import read_policy
from sacpipe.project.identity.members import members_of, policy_members
from sacpipe.project.processor_kind import record_kind
from sacpipe.project.stage import StageContext, run_stage
from sacpipe.replay.pool.reader import ReplayPool


class ExportParams(Config):
    """The sections of params.yaml that the export stage depends on."""

    engine: EngineConfig
    export: ExportConfig
    runtime: RuntimeSettings


def export_stage(context: StageContext) -> None:
    """Write the bundle and the metrics of the parity check."""
    workspace = context.workspace
    params = ExportParams.load_sections(workspace.params)
    policy = read_policy(workspace.policy)
    members = members_of(params.engine, params.runtime) + policy_members(
        policy.header.kind, policy.header.network
    )
    context.refuse_uncovered(members)
    pool = ReplayPool.open(workspace.pool)
    pool.check()
    digests = {"policy": sha256_file(workspace.policy), "pool": sha256_file(workspace.pool / "manifest.json")}
    provenance = Provenance(algorithm=policy.header.algorithm, digests=digests)
    spec = policy.header.spec
    evidence = gather_evidence(pool, spec, params.export.golden_steps, provenance)
    torch.set_num_threads(1)
    # So the golden actions are the same bytes wherever the engine's trainings are.
    compute_outputs = getattr(params.engine, "compute_outputs", None)
    is_deterministic = noise_dim_of(policy.network) is None
    if is_deterministic and compute_outputs is not None and compute_outputs(policy.network):
        golden = evidence.observations.rows(slice(params.export.golden_steps))
        evidence = evidence._replace(golden_actions=act_on(policy.network, spec.policy_spec, golden))
    report = export_bundle(workspace.bundle, policy.network, spec, params.export, evidence, params.runtime)
    context.refuse_uncovered(members)
    metrics = ExportMetrics(
        bundle_digest=report.bundle_digest,
        parity_tolerance=report.parity.tolerance,
        parity_max_error=report.parity.max_error,
        parity_max_error_synthetic=report.parity.synthetic_max_error,
        parity_observations=report.parity.num_observations,
    )
    write_json(workspace.export_metrics, metrics.as_tree())
    write_json(workspace.stage_results("export"), metrics.compared())
    record_kind(workspace, "export", context.key)


if __name__ == "__main__":
    run_stage("export", export_stage)
