"""Read dvc.lock, params.yaml and the verdict, and compare dvc.lock with the files on disk."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError, StorageError
from sacpipe.core.files import canonical_json
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.workspace import STAGES
from sacpipe.report import numbers
from sacpipe.report.data import Artifact, Reason, ReportInputs, ShownVerdict, Stage
from sacpipe.report.readers import finite, pick


def read_params(path: Path) -> dict[str, Any]:
    """Read all of params.yaml.

    Raises:
        ConfigError: the file is missing, or lacks a value that every page shows.
    """
    params = read_yaml(path)
    shown = (("task", "suite"), ("task", "id"), ("algorithm", "name"), ("evaluation", "confidence"))
    for section, key in shown:
        pick(pick(params, section, str(path), ConfigError), key, f"{path}: {section}", ConfigError)
    finite(params["evaluation"]["confidence"], f"{path}: evaluation.confidence", ConfigError)
    pick(params, "seed", str(path), ConfigError)
    try:
        canonical_json(params)
    except (TypeError, ValueError) as exc:
        raise ConfigError(
            f"{path} holds a value that JSON cannot hold: {exc}. Write a number, a text or null."
        ) from exc
    return params


def read_stages(path: Path) -> dict[str, Stage]:
    """Read the stages of dvc.lock.

    Raises:
        StoreError: the file is of another DVC.
        StorageError: dvc.lock lacks a stage, or an entry lacks a key.
    """
    stages = read_lock(path)
    missing = [name for name in STAGES if name not in stages]
    if missing:
        raise StorageError(
            f"{path}: expected the stages {', '.join(STAGES)}, found no {', '.join(missing)}. "
            "`sacpipe run` runs them."
        )
    return {name: _read_stage(name, stages[name], f"{path}: {name}") for name in STAGES}


def read_verdict(tree: Mapping[str, Any] | None) -> ShownVerdict | None:
    """Read the release gate's verdict from plain data; broken rules come first.

    Raises:
        ConfigError: the verdict lacks a key.
    """
    if tree is None:
        return None
    reasons = [
        Reason(
            rule=str(pick(one, "rule", "verdict", ConfigError)),
            expected=_shown(pick(one, "expected", "verdict", ConfigError)),
            found=_shown(pick(one, "found", "verdict", ConfigError)),
            ok=bool(pick(one, "ok", "verdict", ConfigError)),
        )
        for one in pick(tree, "reasons", "verdict", ConfigError)
    ]
    accepted = bool(pick(tree, "accepted", "verdict", ConfigError))
    return ShownVerdict(accepted, tuple(sorted(reasons, key=lambda reason: reason.ok)))


def differing_files(
    stages: Mapping[str, Stage], params: Mapping[str, Any], inputs: ReportInputs
) -> tuple[str, ...]:
    """Return a sentence for each difference between the files on disk and dvc.lock.

    Files are compared by digest. Folders are not compared, because the pool may be large.
    """
    found = []
    changed = sorted({key for stage in stages.values() for key in _changed_params(stage, params)})
    if changed:
        found.append(
            f"params.yaml has changed since these outputs were made ({', '.join(changed)}). "
            "The outputs on this page are older; `sacpipe run` updates them."
        )
    for output in (output for stage in stages.values() for output in stage.outputs):
        path = inputs.root / output.path
        if path.is_file() and _md5(path) != output.md5:
            found.append(f"{output.path} differs from the file in dvc.lock. `sacpipe run` restores that one.")
    return tuple(found)


def flattened(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted key path; an empty mapping is a leaf."""
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flattened(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def _shown(value: Any) -> str:
    """Return a value of a rule as text, a number with few digits."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return numbers.number(finite(value, "verdict", ConfigError)) if is_number else str(value)


def _changed_params(stage: Stage, params: Mapping[str, Any]) -> set[str]:
    """Return the keys whose value differs from the one DVC recorded, and keys that one side lacks."""
    now = flattened(params)
    changed = set()
    for section, recorded in stage.params.items():
        before = flattened(recorded, section)
        after = {key: value for key, value in now.items() if key == section or key.startswith(f"{section}.")}
        for key in before.keys() | after.keys():
            if key not in before or key not in after or before[key] != after[key]:
                changed.add(key)
    return changed


def _read_stage(name: str, tree: Any, where: str) -> Stage:
    recorded = tree.get("params", {}) if isinstance(tree, Mapping) else {}
    return Stage(
        name=name,
        command=str(pick(tree, "cmd", where)),
        dependencies=tuple(_read_artifact(one, where) for one in tree.get("deps", ())),
        outputs=tuple(_read_artifact(one, where) for one in tree.get("outs", ())),
        params=recorded.get("params.yaml", {}),
    )


def _read_artifact(tree: Any, where: str) -> Artifact:
    return Artifact(
        str(pick(tree, "path", where)), str(tree.get("md5", "")), tree.get("size"), tree.get("nfiles")
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
