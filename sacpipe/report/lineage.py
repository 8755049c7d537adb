"""The lineage of the policy: its graph, the digest of every link, and each stage's entry in dvc.lock."""

from sacpipe.project.initial_pool import INITIAL_POOL, named_pool
from sacpipe.project.warm_start import WARM_START, named_weights
from sacpipe.report import lineage_graph, numbers
from sacpipe.report.data import Artifact, ReportData, Stage
from sacpipe.report.elements import fold, prose, section, table
from sacpipe.report.markup import Child, Markup, tag

_SHORT = 10
_SHA256, _MD5 = (tag("span", name, class_="kind") for name in ("SHA-256", "MD5"))

_EDGES = (
    ("params", "train"),
    ("code", "train"),
    ("train", "policy"),
    ("train", "pool"),
    ("policy", "export"),
    ("pool", "export"),
    ("export", "bundle"),
    ("bundle", "evaluate"),
    ("policy", "evaluate"),
    ("evaluate", "verdict"),
)


def lineage(data: ReportData) -> Markup:
    """Return the section of provenance."""
    lead = prose(
        "Every file has a digest: DVC's MD5 in dvc.lock, SHA-256 in the bundle. "
        "`sacpipe lineage` checks each link."
    )
    label = (
        "Lineage: params.yaml and code go into train, which gives policy and replay pool; these go into "
        "export, which gives the bundle; policy and bundle are evaluated; the verdict is about the bundle."
    )
    nodes, edges = _nodes(data), list(_EDGES)
    if any(node.name == "input" for node in nodes):
        edges.append(("input", "train"))
    return section(
        "lineage",
        "Lineage",
        lead,
        tag("figure", lineage_graph.figure(label, nodes, edges)),
        table("Digests", ("Link", "What it is", "Kind", "Digest"), _links(data), numeric_from=9),
        [_stage(stage) for stage in data.stages.values()],
    )


def _nodes(data: ReportData) -> list[lineage_graph.Node]:
    train = data.stages["train"]
    pool = data.output("train", "pool")
    verdict = data.verdict
    word = "open" if verdict is None else "accepted" if verdict.accepted else "refused"
    found = [
        lineage_graph.Node("params", "params.yaml", _short(data.params_digest), "file", 0, 0),
        lineage_graph.Node("code", "code", f"{len(train.dependencies)} dependencies", "file", 0, 2),
        lineage_graph.Node(
            "train", "train", f"{numbers.count(data.training.env_steps)} steps", "stage", 1, 1
        ),
        lineage_graph.Node("policy", "policy", _short(data.training.policy_sha256), "file", 2, 0),
        lineage_graph.Node(
            "pool", "replay pool", _short(pool.md5 if pool else data.pool.manifest_sha256), "file", 2, 2
        ),
        lineage_graph.Node("export", "export", "ONNX", "stage", 3, 1),
        lineage_graph.Node("bundle", "bundle", _short(data.bundle.digest), "file", 4, 1),
        lineage_graph.Node("evaluate", "evaluate", f"{data.num_episodes} episodes", "stage", 5, 1),
        lineage_graph.Node("verdict", "verdict", "not evaluated" if word == "open" else word, word, 6, 1),
    ]
    initial_pool = named_pool(train.params)
    if initial_pool is not None:
        found.append(lineage_graph.Node("input", "earlier pool", _short(initial_pool), "file", 0, 1))
    return found


def _links(data: ReportData) -> list[list[Child]]:
    pool = data.output("train", "pool")
    segments = f"{numbers.count(data.pool.segments)} sealed segment{'s' if data.pool.segments != 1 else ''}"
    what = f"{numbers.count(data.pool.transitions)} transitions in {segments}, "
    what += f"{numbers.size(data.pool.num_bytes)}, {data.pool.form} form"
    rows: list[list[Child]] = [
        [
            "params.yaml",
            "every value of the pipeline, as canonical JSON",
            "SHA-256",
            _hash(data.params_digest),
        ],
        ["out/train/policy.safetensors", "the trained policy", _SHA256, _hash(data.training.policy_sha256)],
        ["out/train/pool", tag("span", what, class_="prose"), _MD5, _hash(pool.md5 if pool else "")],
        [
            "out/train/pool/manifest.json",
            "digests of its segments",
            "SHA-256",
            _hash(data.pool.manifest_sha256),
        ],
    ]
    initial_pool = named_pool(data.stages["train"].params)
    if initial_pool is not None:
        rows.append(
            [
                f"{INITIAL_POOL}/manifest.json",
                "experience from before the training",
                _SHA256,
                _hash(initial_pool),
            ]
        )
    what = "weights of an earlier run in the training"
    weights = named_weights(data.stages["train"].params)
    rows += [[WARM_START, what, _SHA256, _hash(digest)] for digest in weights]
    for name, digest in data.bundle_files.items():
        what = "the bundle's own digest" if name == "manifest.json" else "a file of the bundle"
        rows.append([f"out/export/bundle/{name}", what, _SHA256, _hash(digest)])
    evaluated = data.stages["evaluate"].outputs
    return rows + [[one.path, "evaluation of the bundle", _MD5, _hash(one.md5)] for one in evaluated]


def _stage(stage: Stage) -> Markup:
    rows = [_artifact("needs", one) for one in stage.dependencies] + [
        _artifact("gives", one) for one in stage.outputs
    ]
    counts = f"{len(stage.dependencies)} dependencies, {len(stage.outputs)} outputs"
    return fold(
        ["Stage ", tag("b", stage.name), tag("span", f" {counts}", class_="muted")],
        tag("pre", stage.command),
        table(f"Files of the stage {stage.name}", ("Path", "Role", "Size", "MD5"), rows, numeric_from=9),
    )


def _artifact(role: str, one: Artifact) -> list[Child]:
    size = "" if one.num_bytes is None else numbers.size(one.num_bytes)
    files = "" if one.num_files is None else f" in {numbers.count(one.num_files)} files"
    return [one.path, role, size + files, _hash(one.md5)]


def _hash(value: str) -> Markup:
    return tag("code", value, class_="hash") if value else tag("span", "not tracked by DVC", class_="muted")


def _short(value: str) -> str:
    return value[:_SHORT] or "no digest"
