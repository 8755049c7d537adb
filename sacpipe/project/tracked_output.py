"""Finds out whether a path is an output that DVC tracks, without DVC: from dvc.yaml, dvc.lock and .dvc files.

A tracked output must not be changed in place: DVC would call it changed, and the next run would replace it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError

_OUTPUT_KEYS = ("outs", "metrics", "plots")


def find_tracked_output(path: Path) -> Path | None:
    """Return the output of DVC that is `path`, holds it or is inside it; None where there is none.

    Links are followed: the same folder under another name is the same output.

    Args:
        path: Any path; it need not exist.
    """
    lexical, real = Path(os.path.normpath(Path.cwd() / path)), path.resolve()
    for folder in dict.fromkeys([lexical, real, *lexical.parents, *real.parents]):
        for output in _outputs(folder):
            found = output.resolve()
            if found == real or found in real.parents or real in found.parents:
                return output
    return None


def is_own_output(path: Path) -> bool:
    """Return whether DVC made the files of a path, as a part of an output in a project of this machine."""
    try:
        return find_tracked_output(path) is not None
    except (OSError, RuntimeError):  # the current folder was deleted, or the path's links form a circle
        return False


def _outputs(folder: Path) -> Iterator[Path]:
    """Yield the outputs that the files of DVC in one folder name."""
    for name in ("dvc.yaml", "dvc.lock"):
        stages = _read(folder / name).get("stages")
        for stage in stages.values() if isinstance(stages, dict) else ():
            yield from _stage_outputs(folder, stage)
    try:
        pointers = sorted(folder.glob("*.dvc"))
    except OSError:
        return
    for pointer in pointers:
        yield from _stage_outputs(folder, _read(pointer))


def _stage_outputs(folder: Path, stage: Any) -> Iterator[Path]:
    """Yield the outputs of a stage, of a stage's template (`do`), or of a .dvc file."""
    if not isinstance(stage, dict):
        return
    if "do" in stage:
        yield from _stage_outputs(folder, stage["do"])
    base = folder / str(stage.get("wdir", "."))
    for key in _OUTPUT_KEYS:
        entries = stage.get(key)
        for entry in entries if isinstance(entries, list) else ():
            path = entry.get("path", next(iter(entry), None)) if isinstance(entry, dict) else entry
            if isinstance(path, str) and "${" not in path:  # dvc.lock has the path of a template
                yield base / path


def _read(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file; an empty one where there is no such file."""
    if not path.is_file():
        return {}
    try:
        return read_yaml(path)
    except ConfigError:
        return {}  # DVC itself would refuse it
