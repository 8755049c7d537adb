"""The lineage of the policy: its graph, the digest of every link, and each stage's entry in dvc.lock."""

from sacpipe.core.files import canonical_json, sha256_bytes, sha256_file
from sacpipe.project.initial_pool import INITIAL_POOL, named_pool
from sacpipe.project.stage_key import locked_inputs, locked_outs
from sacpipe.project.warm_start import WARM_START, named_weights
from sacpipe.replay.pool.manifest import read_manifest
from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section


def build(outputs: Outputs) -> Section:
    """Return the section of provenance."""
    trained = outputs.stages["train"]
    params = locked_inputs(trained).params.get("params.yaml", {})
    manifest = read_manifest(outputs.workspace.pool)
    initial_pool, pool_name = named_pool(params), f"{INITIAL_POOL}/manifest.json"
    earlier = {} if initial_pool is None else {pool_name: initial_pool}
    values = {
        "stages": outputs.stages,
        "params_digest": sha256_bytes(canonical_json(outputs.params).encode()),
        "sources": outputs.sources,
        "pool": manifest,
        "pool_bytes": sum(segment.size_bytes for segment in manifest.segments),
        "pool_digest": locked_outs(trained).get("out/train/pool", ""),
        "bundle": {path.name: sha256_file(path) for path in sorted(outputs.workspace.bundle.iterdir())},
        "evaluated": locked_outs(outputs.stages["evaluate"]),
        "earlier_pool": earlier,
        "earlier_weights": [(WARM_START, digest) for digest in named_weights(params)],
        "num_episodes": sum(map(len, outputs.episodes.values())),
        "training": outputs.training,
        "verdict": outputs.verdict,
    }
    return Section("Lineage", "lineage.html", values)
