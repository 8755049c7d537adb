"""The lineage of a released policy: every edge from the alias to the commit, checked by digest.

The order is: history, version, bundle, the export's run, the training's run, its parameters, its replay
pool and its code's commit. An edge holds the expected and the found digest. docs/ledger.md lists the edges.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError, StoreError, StoreUnavailableError
from sacpipe.core.files import canonical_json, sha256_bytes, sha256_file
from sacpipe.project.git import inputs_at
from sacpipe.project.initial_pool import (
    INITIAL_POOL,
    is_tracked,
    manifest_sha256,
    named_pool,
    tracked_manifest_sha256,
)
from sacpipe.project.processor_kind import recorded_kinds
from sacpipe.project.stage_key import DiskTree, dvc_md5, locked_inputs, locked_outs
from sacpipe.project.warm_start import WARM_START, named_weights, weights_digests
from sacpipe.project.workspace import Workspace
from sacpipe.rollout.registries import SCHEME, parse_address
from sacpipe.tracking.ledger import UPSTREAM_TAG
from sacpipe.tracking.ledger_values import (
    IS_COMMITTED_TAG,
    PARAMS_DIGEST_TAG,
    flat_params,
    recorded_processor,
)
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import COMMIT_TAG, STAGE_KEY_TAG, Run, Tracker

BUNDLE = "out/export/bundle"
POLICY = "out/train/policy.safetensors"
POOL = "out/train/pool"
CHAMPION = "champion"
"""The alias whose moves the release history has."""


class Edge(Config):
    """One checked link of the lineage."""

    name: str
    """Names of both ends, e.g. `version -> bundle`."""
    expected: str
    found: str
    ok: bool
    """Whether both digests are known and equal."""


def lineage(
    workspace: Workspace, ledger: Tracker, wanted: str, champions: Mapping[str, str] | None = None
) -> list[Edge]:
    """Check every edge from a registered policy to its code, params and pools.

    Args:
        workspace: The project whose outputs and commits are read.
        ledger: The ledger in which the policy is registered.
        wanted: `NAME` (its champion), `NAME@ALIAS` or `NAME/VERSION`.
        champions: Digest of the champion's bundle by registered name, as the release history says.

    Returns:
        Every edge, in order. Edges are left out where a record that they need is missing.

    Raises:
        StoreError: there is no such version; StoreUnavailableError where the registry does not answer.
    """
    name, alias, number = parse_wanted(wanted)
    version = ledger.registry.version(name, alias or number)
    edges = []
    if alias == CHAMPION:
        edges.append(_edge("history -> version", (champions or {}).get(name), version.bundle_digest))
    with tempfile.TemporaryDirectory() as folder:
        bundle, bundle_md5 = _bundle(ledger, version, Path(folder), edges)
    export = _run(ledger, "version -> export run", version.tags.get(STAGE_KEY_TAG, ""), edges)
    if export is None:
        return edges
    export_run, export_entry = export
    edges += _params(ledger, export_run, export_entry, "export") + _processor(
        workspace, export_run, export_entry, "export"
    )
    edges.append(_edge("export run -> bundle (md5)", locked_outs(export_entry).get(BUNDLE), bundle_md5))
    train = _run(ledger, "export run -> train run", export_run.tags.get(UPSTREAM_TAG, ""), edges)
    if train is None:
        return [*edges, _commit(workspace, export_run, export_entry, "export")]
    train_run, train_entry = train
    made, used = locked_outs(train_entry), locked_inputs(export_entry).deps
    edges.append(_edge("export run -> policy (md5)", used.get(POLICY), made.get(POLICY)))
    edges.append(_edge("export run -> pool (md5)", used.get(POOL), made.get(POOL)))
    edges += _provenance(workspace, bundle, made)
    edges += _params(ledger, train_run, train_entry, "train") + _processor(
        workspace, train_run, train_entry, "train"
    )
    edges.append(_edge("train run -> pool snapshot", made.get(POOL), train_run.datasets.get(POOL)))
    edges += _initial_pool(workspace, train_run, train_entry) + _warm_start(workspace, train_run, train_entry)
    edges.append(_commit(workspace, train_run, train_entry, "train"))
    edges.append(_commit(workspace, export_run, export_entry, "export"))
    return edges


def parse_wanted(wanted: str) -> tuple[str, str, str]:
    """Return name, alias and version number of `NAME`, `NAME@ALIAS` or `NAME/VERSION`."""
    text = wanted if wanted.startswith(SCHEME) else f"{SCHEME}{wanted}"
    is_name = not {"@", "/"} & set(text.removeprefix(SCHEME))
    address = parse_address(f"{text}@{CHAMPION}" if is_name else text)
    return (address.name, address.which, "") if address.is_alias else (address.name, "", address.which)


def _edge(name: str, expected: str | None, found: str | None) -> Edge:
    ok = bool(expected) and expected == found
    return Edge(name=name, expected=expected or "a digest", found=found or "none", ok=ok)


def _bundle(
    ledger: Tracker, version: VersionRecord, folder: Path, edges: list[Edge]
) -> tuple[Bundle | None, str | None]:
    """Fetch the version's bundle and verify it; return the bundle and DVC's digest of its folder."""
    try:
        fetched, model_sha256 = ledger.registry.download(version, folder)
        bundle = open_bundle(fetched)
    except StoreUnavailableError:
        raise
    except (StoreError, BundleError) as exc:
        edges.append(_edge("version -> bundle", version.bundle_digest, str(exc)))
        return None, None
    edges.append(_edge("version -> bundle", version.bundle_digest, bundle.digest))
    edges.append(_edge("version -> served policy.onnx", version.policy_sha256, model_sha256))
    edges.append(_edge("bundle -> policy.onnx", model_sha256, sha256_bytes(bundle.policy_onnx)))
    return bundle, dvc_md5(DiskTree(folder), fetched.relative_to(folder).as_posix())


def _run(ledger: Tracker, name: str, key: str, edges: list[Edge]) -> tuple[Run, dict[str, Any]] | None:
    """Find the run of a stage key, and compute that key again from the run's own record."""
    run = ledger.find_run(key) if key else None
    if run is None:
        edges.append(_edge(name, key, "no such run in the ledger"))
        return None
    try:
        entry = ledger.record(run.run_id)
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        edges.append(_edge(name, key, str(exc)))
        return None
    edges.append(_edge(name, key, locked_inputs(entry).key))
    return run, entry


def _params(ledger: Tracker, run: Run, entry: Mapping[str, Any], stage: str) -> list[Edge]:
    """Compare the recorded parameters with their digest tag and with those that the run shows."""
    inputs = locked_inputs(entry)
    shown, recorded = (
        _texts_digest(texts) for texts in (run.params, ledger.shown_params(flat_params(inputs)))
    )
    return [
        _edge(f"{stage} run -> params", run.tags.get(PARAMS_DIGEST_TAG), inputs.params_digest),
        _edge(f"{stage} run -> params shown", recorded, shown),
    ]


def _processor(workspace: Workspace, run: Run, entry: Mapping[str, Any], stage: str) -> list[Edge]:
    """Compare the kind of processor that a run's tags name with the one in results/kind.yaml.

    The file may hold the kind of a later run of the stage. Then the run's own kind is shown.
    """
    kind = recorded_processor(run.tags)
    if kind is None:
        return []
    found = recorded_kinds(workspace.kinds, {stage: entry}).get(stage, kind)
    return [_edge(f"{stage} run -> processor", kind.text(), found.text())]


def _texts_digest(texts: Mapping[str, str]) -> str:
    return sha256_bytes(canonical_json(dict(texts)).encode())


def _provenance(workspace: Workspace, bundle: Bundle | None, made: Mapping[str, str]) -> list[Edge]:
    """Compare the bundle's provenance with the policy file, if out/train holds this training's policy."""
    if bundle is None or not workspace.policy.is_file():
        return []
    if DiskTree(workspace.root).md5(POLICY) != made.get(POLICY):
        return []
    digest = bundle.contract.provenance.digests.get("policy")
    return [_edge("bundle -> policy.safetensors", digest, sha256_file(workspace.policy))]


def _initial_pool(workspace: Workspace, run: Run, entry: Mapping[str, Any]) -> list[Edge]:
    """Compare the training's initial pool, if it had one, with the ledger, data/pool and DVC.

    `data/pool` may hold a later pool by now. Then only the pool that the run's commit tracks is compared.
    """
    expected = named_pool(locked_inputs(entry).params.get("params.yaml", {}))
    if expected is None:
        return []
    shown, here = run.datasets.get(INITIAL_POOL), manifest_sha256(workspace.initial_pool)
    edges = [_edge("train run -> initial pool", expected, shown)]
    commit = run.tags.get(COMMIT_TAG, "") if run.tags.get(IS_COMMITTED_TAG) == "true" else ""
    tracked = is_tracked(workspace.root, commit)
    if here == expected or not tracked:
        edges.append(_edge("initial pool -> data/pool", expected, here))
    if tracked:
        try:
            tracked_digest = tracked_manifest_sha256(workspace.root, commit)
        except StoreError as exc:
            tracked_digest = str(exc)
        edges.append(_edge("initial pool -> data/pool.dvc", expected, tracked_digest))
    return edges


def _warm_start(workspace: Workspace, run: Run, entry: Mapping[str, Any]) -> list[Edge]:
    """Compare the weights of earlier runs in the training, if there were some, with data/warm_start.

    Another training's weights may be there by now; then those that the run's commit tracks are left to DVC.
    """
    expected = named_weights(locked_inputs(entry).params.get("params.yaml", {}))
    found = weights_digests(workspace.warm_start)
    are_tracked = bool(expected) and is_tracked(workspace.root, run.tags.get(COMMIT_TAG, ""), WARM_START)
    edges = []
    for digest in expected:
        if digest not in found and are_tracked:
            continue
        shown = digest if digest in found else ", ".join(found)
        edges.append(_edge("train run -> data/warm_start", digest, shown or None))
    return edges


def _commit(workspace: Workspace, run: Run, entry: Mapping[str, Any], stage: str) -> Edge:
    """Compute the stage key again from the code and parameters of the commit."""
    name, inputs, commit = f"{stage} run -> commit", locked_inputs(entry), run.tags.get(COMMIT_TAG)
    if commit is None:
        return _edge(name, inputs.key, "no commit was recorded")
    found = inputs_at(workspace.root, commit, stage, inputs)
    if found is None:
        return _edge(name, inputs.key, f"commit {commit} is not here, or lacks the stage")
    if found.key != inputs.key:
        return _edge(
            name, inputs.key, f"commit {commit[:12]} differs in {', '.join(found.differences(inputs))}"
        )
    return _edge(name, inputs.key, found.key)
