"""Strict readers of DVC's outputs. An error names the file and the line of a missing or malformed value.

A number that is not finite is an error too, so that the page cannot show one.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sacpipe.core.errors import SacpipeError, StorageError

MAX_MAGNITUDE = 1e100
"""Largest accepted magnitude; a larger return, loss or count of steps is an error."""


def require_files(paths: list[Path]) -> None:
    """Check that every file exists.

    Raises:
        StorageError: at least one file is missing; the message lists all of them.
    """
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise StorageError(
            f"the report needs {len(missing)} file(s) that are missing: {', '.join(missing)}. "
            "`dvc pull` fetches those under out/ if they were pushed, `git checkout results` restores those "
            "under results/; `sacpipe run` makes them."
        )


def finite(value: object, where: str, error: type[SacpipeError] = StorageError) -> float:
    """Return a finite float.

    Raises:
        error: the value is not a number, not finite, or beyond `MAX_MAGNITUDE`.
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
        error: `tree` is not a mapping or lacks the key.
    """
    if not isinstance(tree, Mapping):
        raise error(
            f"{where}: expected a mapping with '{key}', found {type(tree).__name__}. "
            "`sacpipe run` writes it again."
        )
    if key not in tree:
        keys = ", ".join(map(str, tree)) or "none"
        raise error(f"{where}: expected the key '{key}', found {keys}. `sacpipe run` writes it again.")
    return tree[key]


def csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the place (file and line) and the row of a CSV file that has at least these columns.

    Raises:
        StorageError: a column or a cell is missing, or the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or [])]
            if missing:
                raise StorageError(
                    f"{path}: expected the columns {', '.join(columns)}; {', '.join(missing)} not found. "
                    "`sacpipe run` writes it again."
                )
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if any(row[column] is None for column in columns):
                    raise StorageError(
                        f"{where}: expected {len(columns)} cells, found fewer. `git checkout` restores it."
                    )
                yield where, row
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise StorageError(f"{path} cannot be read as CSV: {exc}. `git checkout` restores it.") from exc


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place (file and line) and the row of a file of one JSON object a line.

    Raises:
        StorageError: a line is not a JSON object, or the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for line_number, line in enumerate(file, start=1):
                where = f"{path}, line {line_number}"
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise StorageError(
                        f"{where}: expected a JSON object, found {type(row).__name__}. "
                        "`dvc checkout` restores the file."
                    )
                yield where, row
    except (OSError, ValueError) as exc:
        raise StorageError(
            f"{path} cannot be read as JSON lines: {exc}. `dvc checkout` restores it."
        ) from exc
