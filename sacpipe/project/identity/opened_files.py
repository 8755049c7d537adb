"""The files that this process reads: opened by Python, by `ctypes`, and by MuJoCo.

A stage records from its start to its end. A command records only while it tries the task, because it opens
many files that no stage does.

Python reports an opening by the audit events `open` and `ctypes.dlopen` (PEP 578). A hook cannot be removed,
so one is added at most once in a process.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sacpipe.project.identity.mujoco_models import record_models, recorded_models

_read: dict[str, None] = {}
_written: set[str] = set()
_loaded_before: set[str] = set()
_state = {"is_hooked": False, "is_recording": False}


def record_opened_files() -> None:
    """Record the files that this process opens from now on, to its end."""
    if not _state["is_hooked"]:
        _state["is_hooked"] = True
        _loaded_before.update(sys.modules)
        sys.addaudithook(_hook)
    _state["is_recording"] = True
    record_models(_is_recording)


@contextlib.contextmanager
def recorded_files() -> Iterator[None]:
    """Record the files that this process opens in the context, besides those of earlier contexts."""
    before = _state["is_recording"]
    record_opened_files()
    try:
        yield
    finally:
        _state["is_recording"] = before


def record_new_models() -> bool:
    """Record MuJoCo's models too, if the task has imported MuJoCo meanwhile; return whether it has."""
    return record_models(_is_recording)


def modules_since() -> set[str]:
    """Return the names of the modules that were imported since the first recording began."""
    return set(sys.modules) - _loaded_before if _state["is_hooked"] else set()


def _is_recording() -> bool:
    return _state["is_recording"]


def opened_files() -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the files that Python read and did not write before, and the files of MuJoCo's models.

    The program's own file is left out: a warning reads it to show the line.
    """
    own = _absolute(getattr(sys.modules["__main__"], "__file__", None) or "")
    by_python = tuple(Path(path) for path in list(_read) if path != own and Path(path).is_file())
    return by_python, recorded_models()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _state["is_recording"]:
        return
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, int):
            return
        name = _absolute(path)
        if _writes(mode, flags):
            _written.add(name)
        elif name not in _written:
            _read[name] = None
    elif event == "ctypes.dlopen" and arguments[0]:
        _read[_absolute(arguments[0])] = None


def _absolute(path: Any) -> str:
    """Return an absolute path without following links: dvc.yaml names the link that the task opens."""
    return os.path.normpath(Path(os.fsdecode(path)).absolute())


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return not set(mode).isdisjoint("wxa+")
    return isinstance(flags, int) and flags & os.O_ACCMODE != os.O_RDONLY
