"""Rows of a benchmark that trains: each finished run adds its own, so that a list of runs may end early."""

import fcntl
import json
from collections.abc import Sequence
from typing import Any

from report import ROOT

from sacpipe.core.files import write_text

Row = dict[str, Any]


def read(name: str) -> list[Row]:
    """Return the rows of benchmarks/NAME.json; none where there is no such file."""
    path = ROOT / "benchmarks" / f"{name}.json"
    found: list[Row] = json.loads(path.read_text())["rows"] if path.is_file() else []
    return found


def add(name: str, key: Sequence[str], row: Row) -> None:
    """Add a row to benchmarks/NAME.json, in place of one that has the same values of `key`."""
    with (ROOT / "benchmarks" / "rows.py").open() as lock:  # runs may end at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = [other for other in read(name) if [other[part] for part in key] != [row[part] for part in key]]
        text = json.dumps({"rows": [*kept, row]}, indent=2) + "\n"
        write_text(ROOT / "benchmarks" / f"{name}.json", text)
    print(row, flush=True)


def steps_option(arguments: Sequence[str]) -> tuple[list[str], int | None]:
    """Return arguments without `--steps N`, and N; None where they have none."""
    if "--steps" not in arguments:
        return list(arguments), None
    at = list(arguments).index("--steps")
    return [*arguments[:at], *arguments[at + 2 :]], int(arguments[at + 1].replace("_", ""))
