"""The reader of .jsonl files: one JSON object a line, to which another process may append."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sacpipe.core.errors import SacpipeError

Row = dict[str, Any]


def json_lines(
    path: Path, error: type[SacpipeError], advice: str, *, skips_torn: bool = False
) -> Iterator[tuple[str, Row]]:
    """Yield the place (file and line) and the row of each line; empty lines are skipped.

    Args:
        path: The file.
        error: Class of the error.
        advice: Last sentence of the error's message.
        skips_torn: Leave out lines that are not JSON, as a crash of the writer leaves them.

    Raises:
        error: the file cannot be read, or a line is not a JSON object.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    row = json.loads(line)
                except ValueError as exc:
                    if skips_torn:
                        continue
                    raise error(f"{where}: expected a JSON object, found {exc}. {advice}") from exc
                if not isinstance(row, dict):
                    raise error(f"{where}: expected a JSON object, found {type(row).__name__}. {advice}")
                yield where, row
    except OSError as exc:
        raise error(f"{path} cannot be read: {exc}. {advice}") from exc


class GrowingJsonLines:
    """The rows of a file to which another process appends; each line is read once, when it has its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rows: list[Row] = []

    def read(self) -> list[Row]:
        """Return every row so far. A file that was truncated meanwhile is read from its start.

        Raises:
            OSError: the file is there and cannot be read.
            ValueError: a line with an end is not JSON.
        """
        if not self._path.is_file():
            return self._rows
        with self._path.open("rb") as file:
            if file.seek(0, 2) < self._offset:
                self._offset, self._rows = 0, []
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        self._rows.extend(json.loads(line) for line in whole.splitlines() if line.strip())
        return self._rows
