"""The files that this process reads, by Python, by `ctypes` and by MuJoCo, and the modules that it imports.

A stage records from its start to its end. A command records only while it tries the task, because it opens
many files that no stage does. Records are kept apart by project, so that what else a process did is in none.

Python reports an opening by the audit events `open` and `ctypes.dlopen` (PEP 578). A hook cannot be removed,
so one is added at most once in a process.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sacpipe.project.identity.mujoco_models import Record, all_model_files, record_models


@dataclass
class _Files:
    """What was opened and imported for one project."""

    read: dict[str, None] = field(default_factory=dict)
    models: Record = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)
    """Names of modules that were imported in recordings that have ended."""
    journal: Path | None = None
    """File with the paths in `read` that are in the project, for a stage that is interrupted and goes on."""


@dataclass
class _Recorder:
    root: Path | None = None
    """Project for which files are recorded now; None for no recording."""
    is_hooked: bool = False
    files: dict[Path, _Files] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    modules_before: set[str] = field(default_factory=set)
    """Names of the modules that were loaded when the recording began, or began again."""

    @property
    def current(self) -> _Files | None:
        return None if self.root is None else self.files.setdefault(self.root, _Files())

    def switch(self, root: Path | None) -> None:
        """Record for a project, or for none, from now on."""
        if self.current is not None:
            self.current.imported |= self.new_modules()
        self.root = root
        self.modules_before = set(sys.modules)

    def new_modules(self) -> set[str]:
        """Return the modules that were imported since the recording began."""
        return set(sys.modules) - self.modules_before


_recorder = _Recorder()


def record_opened_files(root: Path) -> None:
    """Record the files that this process opens from now on, to its end: for the process of a stage alone.

    Args:
        root: The project's folder.
    """
    if not _recorder.is_hooked:
        _recorder.is_hooked = True
        sys.addaudithook(_hook)
    _recorder.switch(root)
    record_new_models()


def keep_record(root: Path, journal: Path) -> None:
    """Write what is read in the project to a file as well, and continue the record of an earlier process.

    A run that goes on from a checkpoint does not open again what it opened before.

    Raises:
        OSError: the file cannot be read.
    """
    files = _recorder.files.setdefault(root, _Files())
    if journal.is_file():
        files.read |= dict.fromkeys(journal.read_text(encoding="utf-8").splitlines())
    files.journal = journal


@contextlib.contextmanager
def files_recorded(root: Path) -> Iterator[None]:
    """Record the files that this process opens inside the block: a command opens others before and after."""
    before = _recorder.root
    record_opened_files(root)
    try:
        yield
    finally:
        _recorder.switch(before)


def record_new_models() -> bool:
    """Record MuJoCo's models too, if the task has imported MuJoCo meanwhile; return whether it has."""
    return record_models(lambda: None if _recorder.current is None else _recorder.current.models)


def imported_modules(root: Path) -> set[str]:
    """Return the names of the modules that were imported while files were recorded for a project."""
    imported = _recorder.files.get(root, _Files()).imported
    return imported | _recorder.new_modules() if _recorder.root == root else set(imported)


def opened_files(root: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the files that Python read and did not write before, and the files of MuJoCo's models.

    The program's own file is left out: a warning reads it to show the line.
    """
    files = _recorder.files.get(root, _Files())
    own = _absolute(getattr(sys.modules["__main__"], "__file__", None) or "")
    by_python = tuple(Path(path) for path in list(files.read) if path != own and Path(path).is_file())
    return by_python, all_model_files(files.models)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    files = _recorder.current
    if files is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, int):
            return
        name = _source(_absolute(path))
        if _writes(mode, flags):
            _recorder.written.add(name)
        elif name not in _recorder.written and name not in files.read:
            _add(files, name)
    elif event == "ctypes.dlopen" and arguments[0]:
        _add(files, _absolute(arguments[0]))


def _add(files: _Files, name: str) -> None:
    files.read[name] = None
    if files.journal is not None and name.startswith(f"{_recorder.root}{os.sep}"):
        with contextlib.suppress(OSError), files.journal.open("a", encoding="utf-8") as journal:
            journal.write(f"{name}\n")


def _source(name: str) -> str:
    """Return the source of a compiled module, and any other path as it is."""
    if name.endswith(".pyc"):
        with contextlib.suppress(ValueError, NotImplementedError):
            return importlib.util.source_from_cache(name)
    return name


def _absolute(path: Any) -> str:
    """Return an absolute path without following links: dvc.yaml names the link that the task opens."""
    return os.path.normpath(Path(os.fsdecode(path)).absolute())


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return not set(mode).isdisjoint("wxa+")
    return isinstance(flags, int) and flags & os.O_ACCMODE != os.O_RDONLY
