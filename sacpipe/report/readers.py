"""Strict readers of DVC's outputs: what is missing, odd or not finite is named with its file and line.

Nothing here guesses: a value that is no finite number stops the report, so that none can reach the page.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sacpipe.core.errors import SacpipeError, StorageError

MAX_MAGNITUDE = 1e100
"""Beyond this a number is taken for a fault: no return, loss or count of steps comes near it."""


def require_files(paths: list[Path]) -> None:
    """Say at once which outputs are missing, and how to get them.

    Raises:
        StorageError: at least one of the files is not there.
    """
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise StorageError(
            f"the report needs {len(missing)} file(s) that are not there: {', '.join(missing)}. "
            "`dvc pull` fetches them where they were pushed; `sacpipe run` makes them."
        )


def finite(value: object, where: str, error: type[SacpipeError] = StorageError) -> float:
    """Return a finite float.

    Raises:
        error: the value is no number, not finite, or beyond `MAX_MAGNITUDE`.
    """
    try:
        found = (
            float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        )
    except (ValueError, OverflowError):
        found = math.nan
    if not abs(found) <= MAX_MAGNITUDE:
        raise error(
            f"{where}: expected a finite number, found {str(value)[:60]!r}. `sacpipe run` writes it again."
        )
    return found


def pick(tree: Any, key: str, where: str, error: type[SacpipeError] = StorageError) -> Any:
    """Return one key of a mapping.

    Raises:
        error: `tree` is no mapping or lacks the key.
    """
    if not isinstance(tree, Mapping):
        raise error(
            f"{where}: expected a mapping with '{key}', found {type(tree).__name__}. Run `sacpipe run`."
        )
    if key not in tree:
        known = ", ".join(map(str, tree)) or "nothing"
        raise error(f"{where}: expected the key '{key}', found {known}. `sacpipe run` writes it again.")
    return tree[key]


def csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (where, row) of a CSV file that has at least these columns.

    Raises:
        StorageError: a column or a cell is missing, or the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            absent = [column for column in columns if column not in (reader.fieldnames or [])]
            if absent:
                raise StorageError(
                    f"{path}: expected the columns {', '.join(columns)}; {', '.join(absent)} not found. "
                    "`sacpipe run` writes it again."
                )
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if any(row[column] is None for column in columns):
                    raise StorageError(
                        f"{where}: expected {len(columns)} cells, found fewer. `dvc checkout` restores it."
                    )
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise StorageError(f"{path} cannot be read as CSV: {exc}.") from exc


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, row) of a file of one JSON object a line.

    Raises:
        StorageError: a line is no JSON object, or the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for line_number, line in enumerate(file, start=1):
                where = f"{path}, line {line_number}"
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise StorageError(f"{where}: expected a JSON object, found {type(row).__name__}.")
                yield where, row
    except (OSError, ValueError) as exc:
        raise StorageError(f"{path} cannot be read as JSON lines: {exc}.") from exc
