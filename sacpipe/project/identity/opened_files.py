"""The files that this process reads: opened by Python, by `ctypes`, and by MuJoCo.

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
_state = {"hooked": False, "recording": False}


def record_opened_files() -> None:
    """Record the files that this process opens from now on. A second call does nothing."""
    if not _state["hooked"]:
        _state["hooked"] = True
        _loaded_before.update(sys.modules)
        sys.addaudithook(_hook)
    _state["recording"] = True
    record_models()


@contextlib.contextmanager
def files_recorded() -> Iterator[None]:
    """Record the files that this process opens inside the block: a command opens others before and after."""
    was_recording = _state["recording"]
    record_opened_files()
    try:
        yield
    finally:
        _state["recording"] = was_recording


def modules_since() -> set[str]:
    """Return the names of the modules that were imported since the first recording began."""
    return set(sys.modules) - _loaded_before if _state["hooked"] else set()


def opened_files() -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the files that Python read and did not write before, and the files of MuJoCo's models."""
    by_python = tuple(Path(path) for path in list(_read) if Path(path).is_file())
    return by_python, recorded_models()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _state["recording"]:
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
