"""Rows of a benchmark that trains: each finished run adds its own, so that a list of runs may end early."""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from report import ROOT

import sacpipe
from sacpipe.algorithms.base import EvaluatedEpisode
from sacpipe.core.files import write_text
from sacpipe.core.locks import hold
from sacpipe.training.config import TrainParams

Row = dict[str, Any]


def read(name: str) -> list[Row]:
    """Return the rows of benchmarks/NAME.json; none where there is no such file."""
    path = ROOT / "benchmarks" / f"{name}.json"
    found: list[Row] = json.loads(path.read_text())["rows"] if path.is_file() else []
    return found


def add(name: str, key: Sequence[str], row: Row) -> None:
    """Add a row to benchmarks/NAME.json, in place of one that has the same values of `key`."""
    with hold(ROOT / "benchmarks" / "rows.py"):  # runs may end at the same time
        kept = [other for other in read(name) if [other[part] for part in key] != [row[part] for part in key]]
        text = json.dumps({"rows": [*kept, row]}, indent=2) + "\n"
        write_text(ROOT / "benchmarks" / f"{name}.json", text)
    print(row, flush=True)


def train(tree: Mapping[str, Any], episodes: int) -> tuple[list[EvaluatedEpisode], float]:
    """Train with the values of a params.yaml; return deterministic episodes and the minutes of training."""
    params = TrainParams.parse({name: tree[name] for name in TrainParams.model_fields})
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        sacpipe.train(params, Path(folder) / "run")
        minutes = (time.monotonic() - start) / 60
        print((Path(folder) / "run" / "curve.csv").read_text())
        policy = sacpipe.load_policy(Path(folder) / "run" / "policy.safetensors")
        return sacpipe.evaluate(policy, params.task, episodes=episodes, seed=params.seed), minutes


def steps_option(arguments: Sequence[str]) -> tuple[list[str], int | None]:
    """Return arguments without `--steps N`, and N; None where they have none."""
    if "--steps" not in arguments:
        return list(arguments), None
    at = list(arguments).index("--steps")
    return [*arguments[:at], *arguments[at + 2 :]], int(arguments[at + 1].replace("_", ""))
