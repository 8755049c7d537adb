"""The project's Python files that a module imports, and the packages these import, read without importing.

`files_of` follows the import statements of the syntax tree through the files of one folder, so that a stage
has the same list before it runs, in the stage and in a test. Imports under `if TYPE_CHECKING:` do not count.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sacpipe.core.errors import ConfigError


@dataclass(frozen=True)
class SourceCode:
    """Files of a project and the packages that they import."""

    files: frozenset[str]
    """Paths relative to the project's folder, with `/`."""
    packages: frozenset[str]
    """Top-level names of imported packages that are neither in the project nor in the standard library."""
    elsewhere: frozenset[str]
    """Dotted names of imported modules of these packages; of some, the last part is no module."""


def source_code(
    root: Path, modules: Iterable[str], is_followed: Callable[[str], bool] = lambda _path: True
) -> SourceCode:
    """Return the files that modules import, directly or through others, and the packages these import.

    Args:
        root: The project's folder, which is on `sys.path` of its stages.
        modules: Dotted names. Those that are not in the folder are packages.
        is_followed: Whether a file, by its path relative to the folder, counts. The imports of one that
            does not are not followed.

    Raises:
        ConfigError: a file is not valid Python.
    """
    files: set[str] = set()
    elsewhere: set[str] = set()
    pending, seen = list(modules), set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        found = _files(root, name)
        top = name.partition(".")[0]
        if not found:
            if not _files(root, top) and not (root / top).is_dir() and top not in sys.stdlib_module_names:
                elsewhere.add(name)
            continue
        for path in found:
            relative = path.relative_to(root).as_posix()
            if relative in files or not is_followed(relative):
                continue
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            imported = _imports(path, path.stat().st_mtime_ns, package)
            if imported is None:
                continue  # an __init__.py without code
            files.add(relative)
            pending += imported
    packages = frozenset(name.partition(".")[0] for name in elsewhere)
    return SourceCode(frozenset(files), packages, frozenset(elsewhere))


def has_code(path: Path, package: str) -> bool:
    """Return whether a Python file holds more than the docstring of a package.

    Args:
        path: The file.
        package: Dotted name of the package that it is in.

    Raises:
        ConfigError: the file is not valid Python.
    """
    return _imports(path, path.stat().st_mtime_ns, package) is not None


def _files(root: Path, name: str) -> list[Path]:
    """Return the file of a module and those of the packages above it, or nothing if it is not there."""
    parts = name.split(".")
    path = root.joinpath(*parts)
    module = next(
        (file for file in (path.with_name(f"{path.name}.py"), path / "__init__.py") if file.is_file()), None
    )
    if module is None:
        return []
    above = [root.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts))]
    return [module, *(file for file in above if file.is_file())]


@lru_cache(maxsize=2048)
def _imports(path: Path, _changed_ns: int, package: str) -> tuple[str, ...] | None:
    """Return what a file imports; None for a file that holds no more than a docstring.

    `from a import b` gives `a` and `a.b`, because b may be a module.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as exc:
        raise ConfigError(f"{path} is not valid Python: {exc}.") from exc
    if path.name == "__init__.py" and len(tree.body) <= (ast.get_docstring(tree) is not None):
        return None
    names: list[str] = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name)


_WITH_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
"""Kinds of nodes that are statements, or that hold some. No expression holds any."""


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _WITH_STATEMENTS):
            continue
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            yield from _statements(ast.Module(child.orelse, []))
            continue
        yield child
        yield from _statements(child)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
