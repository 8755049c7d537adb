"""The user's own modules, in the project or in an editable installation, and installed packages."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sacpipe.project.identity.dependency_lines import covers
from sacpipe.project.identity.source_code import SourceCode, source_code
from sacpipe.project.identity.versions import NUMERIC

PRODUCT = ("pipelines", "sacpipe")
"""Top-level packages of the product."""


@dataclass(frozen=True)
class OwnCode:
    """What modules outside of the product consist of."""

    files: frozenset[str]
    """Files of own modules and of the own modules they import, as dvc.yaml names them."""
    packages: frozenset[str]
    """Top-level names of packages: of installed modules themselves, and of what own modules import."""
    entries: frozenset[str]
    """Modules from which imports of the product are followed."""


def own_code(root: Path, modules: Mapping[str, Path]) -> OwnCode:
    """Return what modules outside of the product consist of.

    Args:
        root: The project's folder.
        modules: File of each module, by dotted name.
    """
    files: set[str] = set()
    packages: set[str] = set()
    entries: set[str] = set()
    for name, file in modules.items():
        package = installed_package(file)
        if package is not None:
            packages.add(package)
            entries |= _imports_of_product(name, file, package)
            continue
        base = _import_folder(name, file)
        code = _followed(root, base, name)
        files |= {_dependency(root, base / path) for path in code.files} | {_dependency(root, file)}
        packages |= code.packages
        entries |= {name} if file.is_relative_to(root) else code.elsewhere
    return OwnCode(frozenset(files), frozenset(packages), frozenset(entries))


def foreign_modules(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """Return the files of those loaded modules that are not the product's, by dotted name."""
    found = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {
        name: Path(file)
        for name, file in found.items()
        if file is not None and name.partition(".")[0] not in PRODUCT and not _is_product(root, Path(file))
    }


def installed_package(path: Path) -> str | None:
    """Return the top-level name of the installed package that a file is in; None for other files."""
    for marker in ("site-packages", "dist-packages"):
        if marker in path.parts:
            below = path.parts[path.parts.index(marker) + 1 :]
            return below[0].removesuffix(".py") if below else ""
    return None


def _imports_of_product(name: str, file: Path, package: str) -> set[str]:
    """Return the product's modules that a module of an installed package imports, also through its package.

    The numeric packages import none.
    """
    if package in NUMERIC:
        return set()
    code = source_code(
        _import_folder(name, file), [name], lambda path: covers([package, f"{package}.py"], path)
    )
    return {module for module in code.elsewhere if module.partition(".")[0] in PRODUCT}


def _followed(root: Path, base: Path, name: str) -> SourceCode:
    def is_followed(path: str) -> bool:
        return not _is_product(root, base / path)

    return source_code(base, [name], is_followed)


def _import_folder(name: str, file: Path) -> Path:
    """Return the folder of `sys.path` from which a module was imported."""
    folder = file.parent if file.name == "__init__.py" else file
    return folder.parents[name.count(".")]


def _is_product(root: Path, file: Path) -> bool:
    return file.is_relative_to(root) and covers(PRODUCT, file.relative_to(root).as_posix())


def _dependency(root: Path, file: Path) -> str:
    """Return a file's path as dvc.yaml names it: relative to the project, absolute outside of it."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
