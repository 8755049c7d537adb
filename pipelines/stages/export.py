"""Export the trained policy as a bundle, and check it against the trained network."""

import numpy as np
import torch

from sacpipe.bundle.contract import Provenance
from sacpipe.bundle.guard_settings import GuardSettings
from sacpipe.core.config import Config
from sacpipe.core.errors import ExportError
from sacpipe.core.files import sha256_file, write_json
from sacpipe.export.bundle import Evidence, export_bundle
from sacpipe.export.config import ExportConfig, ExportMetrics
from sacpipe.networks.policy_file import read_policy
from sacpipe.project.processor_kind import record_kind
from sacpipe.project.stage import StageContext, run_stage
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.specs.records import FloatArray

_RECORDED_OBSERVATIONS = 4096


class ExportParams(Config):
    """The sections of params.yaml that the export stage depends on."""

    export: ExportConfig
    guards: GuardSettings


def recorded_observations(pool: ReplayPool, golden_steps: int) -> FloatArray:
    """Return the pool's first `golden_steps` observations, then some spread over all. Shape (N, dim).

    Raises:
        ExportError: the pool is shorter.
    """
    if pool.transitions < golden_steps:
        raise ExportError(
            f"export.golden_steps: expected at most the {pool.transitions} recorded steps of the pool, found "
            f"{golden_steps}. Lower it or train longer."
        )
    first: list[FloatArray] = []
    for segment in pool.segments:
        first.append(pool.read(segment).observations)
        if sum(map(len, first)) >= golden_steps:
            break
    return np.concatenate([np.concatenate(first)[:golden_steps], pool.observations(_RECORDED_OBSERVATIONS)])


def export_stage(context: StageContext) -> None:
    """Write the bundle and the metrics of the parity check."""
    workspace = context.workspace
    context.refuse_uncovered(())
    params = ExportParams.load_sections(workspace.params)
    policy = read_policy(workspace.policy)
    pool = ReplayPool.open(workspace.pool)
    pool.check()
    digests = {"policy": sha256_file(workspace.policy), "pool": sha256_file(workspace.pool / "manifest.json")}
    evidence = Evidence(
        recorded_observations(pool, params.export.golden_steps),
        *pool.observation_range(),
        Provenance(algorithm=policy.header.algorithm, digests=digests),
    )
    torch.set_num_threads(1)
    report = export_bundle(
        workspace.bundle, policy.actor, policy.header.spec, params.export, evidence, params.guards
    )
    context.refuse_uncovered(())
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
