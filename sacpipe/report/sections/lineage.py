"""The lineage of the policy: its graph, the digest of every link, and each stage's entry in dvc.lock."""

from collections.abc import Iterator

from sacpipe.core.files import canonical_json, sha256_bytes, sha256_file
from sacpipe.project.initial_pool import INITIAL_POOL, named_pool
from sacpipe.project.stage_key import locked_outs
from sacpipe.project.warm_start import WARM_START, named_weights
from sacpipe.replay.pool.manifest import read_manifest
from sacpipe.report.numbers import count, size
from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section

_SHA256, _MD5 = "SHA-256", "MD5"


def build(outputs: Outputs) -> Section:
    """Return the section of provenance."""
    params = outputs.stages["train"].get("params", {}).get("params.yaml", {})
    initial_pool = named_pool(params)
    links = list(_links(outputs))
    if initial_pool is not None:
        earlier = (
            f"{INITIAL_POOL}/manifest.json",
            "experience from before the training",
            _SHA256,
            initial_pool,
        )
        links.append(earlier)
    weights = WARM_START, "weights of an earlier run in the training", _SHA256
    links += [(*weights, digest) for digest in named_weights(params)]
    values = {
        "links": links,
        "stages": outputs.stages,
        "initial_pool": initial_pool,
        "digests": {path: digest for path, _, _, digest in links},
        "num_dependencies": len(outputs.stages["train"].get("deps", ())),
        "num_episodes": sum(map(len, outputs.episodes.values())),
        "training": outputs.training,
        "verdict": outputs.verdict,
    }
    return Section("Lineage", "lineage.html", values)


def _links(outputs: Outputs) -> Iterator[tuple[str, str, str, str]]:
    """Yield path, meaning, kind of digest and digest of each link."""
    workspace, bundle = outputs.workspace, "out/export/bundle"
    manifest = read_manifest(workspace.pool)
    num_bytes = sum(segment.size_bytes for segment in manifest.segments)
    plural = "s" * (len(manifest.segments) != 1)
    pool = (
        f"{count(manifest.transitions)} transitions in {count(len(manifest.segments))} sealed segment{plural}, "
        f"{size(num_bytes)}, {manifest.format} form"
    )
    params = sha256_bytes(canonical_json(outputs.params).encode())
    yield "params.yaml", "every value of the pipeline, as canonical JSON", _SHA256, params
    yield "out/train/policy.safetensors", "the trained policy", _SHA256, outputs.sources["policy"]
    yield "out/train/pool", pool, _MD5, locked_outs(outputs.stages["train"]).get("out/train/pool", "")
    yield "out/train/pool/manifest.json", "digests of its segments", _SHA256, outputs.sources["pool"]
    for path in sorted(workspace.bundle.iterdir()):
        what = "the bundle's own digest" if path.name == "manifest.json" else "a file of the bundle"
        yield f"{bundle}/{path.name}", what, _SHA256, sha256_file(path)
    for name, md5 in locked_outs(outputs.stages["evaluate"]).items():
        yield name, "evaluation of the bundle", _MD5, md5
