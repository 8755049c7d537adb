#!/usr/bin/env python3
"""Writes the tables of docs/metrics.md from the declarations in the code.

    python docs/metrics.py

Each table is between two comments that name it. A row is declared where its number is made: rows of a
training in `sacpipe/training/metrics.py`, an algorithm's in `metrics` of its section, a stage's numbers in
the fields of its metrics.json. tests/docs/test_metrics.py fails where the page is not up to date.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from sacpipe.algorithms import ALGORITHMS, metrics_of
from sacpipe.core.config import Config
from sacpipe.evaluation.statistics import EvaluateMetrics, EvaluationSummary
from sacpipe.export.config import ExportMetrics
from sacpipe.params.field_docstrings import field_docstring
from sacpipe.specs.metric import Metric, Unit
from sacpipe.training.metrics import METRICS
from sacpipe.training.outputs import TrainingReport

PAGE = Path(__file__).parent / "metrics.md"
STAGES: dict[str, type[Config]] = {
    "train": TrainingReport,
    "export": ExportMetrics,
    "evaluate": EvaluateMetrics,
}
"""The whole metrics.json of each stage."""


def declared(model: type[Config]) -> dict[str, Metric]:
    """Return the numbers that a metrics.json declares, by their path in the file."""
    table: dict[str, Metric] = {}
    for name, field in model.model_fields.items():
        meaning = " ".join(field_docstring(model, name).split())
        table.update((name, Metric(unit.name, meaning)) for unit in field.metadata if isinstance(unit, Unit))
        for inner in _sections(field.annotation):
            key = f"{name}/{{name}}" if get_origin(field.annotation) is dict else name
            table |= {f"{key}/{path}": metric for path, metric in declared(inner).items()}
    return table


def _sections(annotation: Any) -> list[type[Config]]:
    parts = (annotation, *get_args(annotation))
    return [part for part in parts if isinstance(part, type) and issubclass(part, Config)]


def tables() -> dict[str, Mapping[str, Metric]]:
    """Return every table of the page by its name."""
    algorithms = {name: metrics_of(name) for name in ALGORITHMS.ours}
    stages = {stage: declared(model) for stage, model in STAGES.items()}
    stages["evaluate"] = declared(EvaluationSummary)  # the same for each of the policies
    return {"rows": METRICS} | algorithms | stages


def markdown(metrics: Mapping[str, Metric]) -> str:
    """Return a table as Markdown."""
    rows = [f"| `{name}` | {metric.unit} | {metric.meaning} |" for name, metric in metrics.items()]
    return "\n".join(["| name | unit | meaning |", "|---|---|---|", *rows])


def written(page: str) -> str:
    """Return the page with its tables written anew.

    Raises:
        ValueError: the page lacks a table, or has one that no code declares.
    """
    known = tables()
    names = re.findall(r"<!-- metrics of (\w+) -->", page)
    if sorted(names) != sorted(known):
        raise ValueError(
            f"docs/metrics.md: expected the tables {', '.join(known)}, found {', '.join(names)}."
        )
    for name, metrics in known.items():
        pattern = rf"(<!-- metrics of {name} -->\n).*?\n(<!-- end -->)"
        page = re.sub(
            pattern, lambda found, of=metrics: f"{found[1]}{markdown(of)}\n{found[2]}", page, flags=re.DOTALL
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
