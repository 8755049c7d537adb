"""The values of a stage that the ledger records: parameters, metrics, versions and digests.

They come from dvc.lock, from a stage's outputs, or from the machine that ran the stage.
"""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sacpipe.core.errors import StoreError
from sacpipe.core.json_lines import json_lines
from sacpipe.project.git import head_commit, inputs_at
from sacpipe.project.processor_kind import ProcessorKind
from sacpipe.project.stage_key import StageInputs, locked_outs, plain
from sacpipe.tracking.tracker import COMMAND_TAG, COMMIT_TAG

IS_COMMITTED_TAG = "sacpipe.commit_holds_inputs"
PARAMS_DIGEST_TAG = "sacpipe.params_digest"
OUTCOME_TAG = "sacpipe.outcome"
OUT_TAG = "sacpipe.out."
PROCESSOR_TAG = "sacpipe.processor."
VERSION_TAG = "sacpipe.version."

_PACKAGES = (
    *("dm_control", "dvc", "gymnasium", "mlflow", "mujoco", "numpy"),
    *("onnx", "onnxruntime", "prefect", "sacpipe", "torch"),
)


def flat_params(inputs: StageInputs) -> dict[str, Any]:
    """Return parameters by dotted key; the file's name precedes keys of other files than params.yaml."""
    flat: dict[str, Any] = {}
    for file, values in inputs.params.items():
        flat |= flattened(plain(values), "" if file == "params.yaml" else file)
    return flat


def flattened(tree: Any, prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """Return the leaves of nested mappings by key path; an empty mapping is a leaf."""
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree} if prefix else {}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flattened(value, f"{prefix}{separator}{key}" if prefix else str(key), separator)
    return leaves


def numbers_in(tree: Any) -> dict[str, float]:
    """Return the numbers of a metrics.json by path, e.g. `bundle/return_mean`."""
    leaves = flattened(tree, separator="/")
    return {
        name: float(value)
        for name, value in leaves.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a metrics.jsonl.

    Raises:
        StoreError: a line is not a JSON object.
    """
    return [row for _, row in json_lines(path, StoreError, "`dvc checkout` restores the file.")]


def identity_tags(inputs: StageInputs, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a stage's identity: digests of its parameters and outputs, and its command."""
    outs = {f"{OUT_TAG}{path}": md5 for path, md5 in locked_outs(entry).items()}
    return {PARAMS_DIGEST_TAG: inputs.params_digest, COMMAND_TAG: str(inputs.cmd), **outs}


def commit_tags(root: Path, commit: str | None, stage: str, inputs: StageInputs) -> dict[str, str]:
    """Return the tags of a stage's commit, and of whether that commit holds its inputs.

    Args:
        root: The project's folder.
        commit: The commit, or None for the checked-out one.
        stage: Name of the stage.
        inputs: The inputs of the stage's run.
    """
    commit = commit or head_commit(root)
    if commit is None:
        return {}
    found = inputs_at(root, commit, stage, inputs)
    is_committed = found is not None and found.key == inputs.key
    return {
        COMMIT_TAG: commit,
        IS_COMMITTED_TAG: json.dumps(is_committed),
    }


def processor_tags(kind: ProcessorKind | None) -> dict[str, str]:
    """Return the tags of the kind of processor on which a stage computed; none where it is not known."""
    if kind is None:
        return {}
    return {f"{PROCESSOR_TAG}{field}": value for field, value in kind.as_tree().items() if value}


def recorded_processor(tags: Mapping[str, str]) -> ProcessorKind | None:
    """Return the kind of processor that a run's tags name; None where they name none."""
    values = {field: tags.get(f"{PROCESSOR_TAG}{field}", "") for field in ProcessorKind.model_fields}
    return ProcessorKind.parse(values, source="the run's tags") if any(values.values()) else None


def machine_tags() -> dict[str, str]:
    """Return the platform and package versions of this environment, in which the stage must have run."""
    tags = {
        "sacpipe.device": "cpu",
        "sacpipe.platform": f"{platform.system()} {platform.machine()}",
        f"{VERSION_TAG}python": platform.python_version(),
    }
    for name in _PACKAGES:
        try:
            tags[f"{VERSION_TAG}{name}"] = version(name)
        except PackageNotFoundError:
            continue
    return tags
