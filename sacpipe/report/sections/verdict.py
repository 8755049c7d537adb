"""The head of the page: the task, the verdict of the release gate, warnings, and the main numbers."""

from collections.abc import Iterator, Mapping
from typing import Any

from sacpipe.project.stage_key import DiskTree, locked_inputs, locked_outs, plain
from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section
from sacpipe.tracking.ledger_values import flattened


def build(outputs: Outputs) -> Section:
    """Return the head."""
    values = {
        "params": outputs.params,
        "model_name": outputs.params.get("release", {}).get("model_name", ""),
        "verdict": outputs.verdict,
        "warnings": [*differing_files(outputs), *_other_sources(outputs)],
        "training": outputs.training,
        "returns": [
            ("Deterministic return", "deterministic", outputs.evaluated.deterministic),
            ("Return of the bundle", "bundle", outputs.evaluated.bundle),
        ],
        "bundle_digest": outputs.bundle.digest,
        "confidence": outputs.evaluation.confidence,
    }
    return Section(outputs.task, "verdict.html", values)


def differing_files(outputs: Outputs) -> Iterator[str]:
    """Yield a sentence for each difference between the files on disk and dvc.lock.

    Files are compared by digest. Folders are not compared, because the pool may be large.
    """
    changed = sorted(
        {key for entry in outputs.stages.values() for key in _changed_params(entry, outputs.params)}
    )
    if changed:
        yield (
            f"params.yaml has changed since these outputs were made ({', '.join(changed)}). "
            "The outputs on this page are older; `sacpipe run` updates them."
        )
    root = outputs.workspace.root
    for name, md5 in (out for entry in outputs.stages.values() for out in locked_outs(entry).items()):
        if (root / name).is_file() and DiskTree(root).md5(name) != md5:
            yield f"{name} differs from the file in dvc.lock. `sacpipe run` restores that one."


def _changed_params(entry: Mapping[str, Any], params: Mapping[str, Any]) -> set[str]:
    """Return the keys whose value differs from the one DVC recorded, and keys that one side lacks."""
    recorded = locked_inputs(entry).params.get("params.yaml", {})
    before = flattened(plain(recorded))
    after = flattened(plain({section: params[section] for section in recorded if section in params}))
    missing = object()
    return {
        key for key in before.keys() | after.keys() if before.get(key, missing) != after.get(key, missing)
    }


def _other_sources(outputs: Outputs) -> Iterator[str]:
    """Yield a sentence for each source of the bundle that differs from the one under out/train."""
    exported = outputs.bundle.contract.provenance.digests
    for name, found in outputs.sources.items():
        if exported.get(name, found) != found:
            yield (
                f"The bundle was exported from the {name} {exported[name][:10]}; out/train has {found[:10]}. "
                "`sacpipe run` exports the present one."
            )
