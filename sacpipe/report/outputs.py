"""DVC's outputs as the sections read them: each file once, when a section first needs it.

A number that is not finite is an error, so that the page cannot show one. docs/report.md lists every file.
"""

import contextlib
import csv
import math
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.config import Config, read_yaml
from sacpipe.core.errors import ConfigError, ContractError, StorageError
from sacpipe.core.files import canonical_json, read_json, sha256_file
from sacpipe.core.json_lines import json_lines
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.episodes_csv import read_episodes_csv
from sacpipe.evaluation.statistics import EvaluateMetrics
from sacpipe.export.config import ExportMetrics
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.stage_key import locked_inputs
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.verdict import Verdict
from sacpipe.specs.metric import Metric
from sacpipe.training.metrics import LEARNER_METRICS

if TYPE_CHECKING:
    from sacpipe.training.outputs import TrainingReport

POLICIES = ("deterministic", "stochastic", "bundle")
"""Evaluated policies, in the order of the page. The first two are evaluated during training too."""
REQUIRED = (
    *("params.yaml", "dvc.lock", "results/curve.csv", "results/episodes.csv"),
    *(f"out/train/{name}" for name in ("policy.safetensors", "metrics.json", "metrics.jsonl")),
    *("out/train/pool/manifest.json", "out/export/metrics.json", "out/evaluate/metrics.json"),
    *(
        f"out/export/bundle/{name}"
        for name in ("manifest.json", "contract.json", "golden.npz", "policy.onnx")
    ),
)
"""Files without which there is no page."""

_SHOWN = (("task", "suite"), ("task", "id"), ("algorithm", "name"))
"""Params that every page shows."""
_MAX_MAGNITUDE = 1e100
_Model = TypeVar("_Model", bound=Config)


class Outputs:
    """The present outputs of a project.

    Args:
        workspace: Of the project.
        verdict: Verdict of the release gate on them; None if it did not run.

    Attributes raise StorageError where a file is malformed, ConfigError where params.yaml is, and the errors
    of the readers of pools and bundles.
    """

    def __init__(self, workspace: Workspace, verdict: Verdict | None = None) -> None:
        self.workspace, self.verdict = workspace, verdict

    def require_files(self) -> None:
        """Check that every file exists that a page needs.

        Raises:
            StorageError: at least one file is missing; the message lists all of them.
        """
        paths = [self.workspace.root / name for name in REQUIRED]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise StorageError(
                f"the report needs {len(missing)} file(s) that are missing: {', '.join(missing)}. "
                "`dvc pull` fetches those under out/ if they were pushed, `git checkout results` restores "
                "those under results/; `sacpipe run` makes them."
            )

    @cached_property
    def params(self) -> dict[str, Any]:
        """All of params.yaml."""
        params = read_yaml(self.workspace.params)
        try:
            canonical_json(params)
            for section, key in _SHOWN:
                params[section][key]
        except (KeyError, TypeError, ValueError) as exc:
            shown = ", ".join(f"{section}.{key}" for section, key in _SHOWN)
            raise ConfigError(
                f"{self.workspace.params}: expected values that JSON can hold, among them {shown}; found "
                f"{type(exc).__name__}: {exc}. `sacpipe params TASK` prints a complete file."
            ) from exc
        return params

    @property
    def task(self) -> str:
        """Name of the task, SUITE/ID."""
        return f"{self.params['task']['suite']}/{self.params['task']['id']}"

    @cached_property
    def evaluation(self) -> EvaluationConfig:
        """Settings of the evaluate stage, whose intervals the page shows."""
        return EvaluationConfig.parse(self.params.get("evaluation"), where="evaluation")

    @cached_property
    def stages(self) -> dict[str, Any]:
        """Entries of dvc.lock by stage."""
        entries = read_lock(self.workspace.dvc_lock)
        missing = [name for name in STAGES if name not in entries]
        if missing:
            raise StorageError(
                f"{self.workspace.dvc_lock}: expected the stages {', '.join(STAGES)}, found no "
                f"{', '.join(missing)}. `sacpipe run` runs them."
            )
        return {name: entries[name] for name in STAGES}

    @cached_property
    def work_folder(self) -> Path:
        """Resume folder of the training; it is missing on other machines than the one that trained."""
        return self.workspace.work(locked_inputs(self.stages["train"]).key)

    @cached_property
    def training(self) -> "TrainingReport":
        """Totals of the training."""
        from sacpipe.training.outputs import TrainingReport  # needs PyTorch

        return _parsed(TrainingReport, self.workspace.train_metrics)

    @cached_property
    def evaluated(self) -> EvaluateMetrics:
        """Statistics of each policy."""
        return _parsed(EvaluateMetrics, self.workspace.evaluate_metrics)

    @cached_property
    def exported(self) -> ExportMetrics:
        """Differences between the trained network and policy.onnx."""
        return _parsed(ExportMetrics, self.workspace.export_metrics)

    @cached_property
    def signals(self) -> dict[str, list[tuple[float, float]]]:
        """Rows of (env_steps, value) by metric: an algorithm has names of its own."""
        found: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for row in read_rows(self.workspace.train_rows):
            for name in row.keys() - {"env_steps", "gradient_steps"}:
                found[name].append((row["env_steps"], row[name]))
        return dict(sorted(found.items()))

    @cached_property
    def learner_metrics(self) -> dict[str, Metric]:
        """Metrics of the learner as the training named them; empty where the work folder is missing."""
        path = self.work_folder / LEARNER_METRICS
        if not path.is_file():
            return {}
        with _malformed(path):
            return {name: Metric(**one) for name, one in read_json(path, StorageError).items()}

    @cached_property
    def episodes(self) -> dict[str, tuple[Episode, ...]]:
        """Every evaluation episode, by policy."""
        path = self.workspace.episodes
        with _malformed(path):
            episodes = read_episodes_csv(path)
            for one in (one for policy in POLICIES for one in episodes[policy]):
                finite(one.episode_return)
            return episodes

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle, verified as on a robot."""
        return open_bundle(self.workspace.bundle, follow_cache_links=True)

    @cached_property
    def sources(self) -> dict[str, str]:
        """SHA-256 of the policy and of the pool's manifest, from which a bundle is exported."""
        pool = self.workspace.pool / "manifest.json"
        return {"policy": sha256_file(self.workspace.policy), "pool": sha256_file(pool)}


def _parsed(model: type[_Model], path: Path) -> _Model:
    with _malformed(path):
        return model.parse(read_json(path, StorageError), source=str(path))


def read_rows(path: Path, *names: str) -> list[dict[str, Any]]:
    """Read finite numbers from a .csv, or from a file of one JSON object a line.

    Args:
        path: The file.
        names: Columns or keys that are read; all of a line if none is given. `policy` is a text.

    Raises:
        StorageError: a line lacks a name or has something else, or the file cannot be read.
    """
    rows, advice = [], "`dvc checkout` restores it."
    lines = _csv_lines(path) if path.suffix == ".csv" else json_lines(path, StorageError, advice)
    for where, line in lines:
        try:
            rows.append({name: _value(name, line[name]) for name in names or ("env_steps", *line)})
        except (KeyError, ValueError, TypeError) as exc:
            fault = f"{'no ' * isinstance(exc, KeyError)}{exc}"
            raise StorageError(f"{where}: {fault}. {advice}") from exc
    return rows


def _csv_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place and cells of each line below the head."""
    with _malformed(path), path.open(encoding="utf-8", newline="") as file:
        for number, line in enumerate(csv.DictReader(file), start=2):
            yield f"{path}, line {number}", line


def _value(name: str, value: Any) -> Any:
    return value if name == "policy" else finite(value)


def finite(value: Any) -> float:
    """Return a finite number of at most 1e100.

    Raises:
        ValueError: it is something else.
    """
    found = math.nan if isinstance(value, bool) else float(value)
    if not abs(found) <= _MAX_MAGNITUDE:
        raise ValueError(f"expected a finite number, found {str(value)[:60]!r}")
    return found


@contextlib.contextmanager
def _malformed(path: Path) -> Iterator[None]:
    """Turn what a malformed file raises into an error that names it."""
    try:
        yield
    except KeyError as exc:
        raise StorageError(
            f"{path}: expected the key {exc}, found none. `sacpipe run` writes it again."
        ) from exc
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as exc:
        raise StorageError(f"{path} is malformed: {exc}. `dvc checkout` restores it.") from exc
    except (ConfigError, ContractError) as exc:
        raise StorageError(f"{exc} `sacpipe run` writes it again.") from exc
