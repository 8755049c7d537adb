"""versions.lock: the versions of the packages that results depend on, a `params` dependency of the stages.

The file is a YAML mapping from the name of a distribution to its version, without a local part such as
`+cpu`. `sacpipe lock` writes it; every command and every stage compares it with what is installed.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import write_text

FILE_NAME = "versions.lock"

NUMERIC = ("dm_control", "gymnasium", "mujoco", "numpy", "onnx", "onnxruntime", "torch")
"""Packages that compute what a stage writes. Another version may give other bytes."""

_HEADER = "# Versions on which results depend. `sacpipe lock` writes this file; docs/identity.md.\n"


def installed_version(name: str) -> str | None:
    """Return the version of a distribution without its local part; None if it is not installed."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def distributions_of(packages: Iterable[str]) -> frozenset[str]:
    """Return the distributions that top-level packages are from, in lower case with `-`.

    The numeric packages keep the name by which they are imported. A package without metadata has none, and
    one whose parts are distributed apart has several.
    """
    found = set()
    for package in packages:
        if package in NUMERIC:
            found.add(package)
        else:
            names = _distributions().get(package, ())
            found |= {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    return frozenset(found)


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def read_versions(root: Path) -> dict[str, str]:
    """Read versions.lock.

    Raises:
        ConfigError: the file is missing or is not a mapping of names to versions.
    """
    path = root / FILE_NAME
    if not path.is_file():
        raise ConfigError(
            f"{path} is missing: it has the versions that results depend on. `sacpipe lock` writes it."
        )
    found = read_yaml(path)
    wrong = next((name for name, value in found.items() if not isinstance(value, str)), None)
    if wrong is not None:
        raise ConfigError(
            f"{path}: expected a version in quotes for '{wrong}', found {found[wrong]!r}. `sacpipe lock` "
            "writes the file."
        )
    return found


def write_versions(root: Path, names: Iterable[str], *, keeps_known: bool = False) -> list[str]:
    """Write the installed versions of packages; return what changed, a line each.

    Args:
        root: The project's folder.
        names: Distributions beside the numeric packages.
        keeps_known: Keep what the file has, and add those of `names` that are new in it.

    Raises:
        ConfigError: the file is to be kept, and is missing or is not a mapping of names to versions.
        StorageError: it cannot be written.
    """
    path = root / FILE_NAME
    if keeps_known:
        before = read_versions(root)
        wanted = {*names} - {*before}
    else:
        before = read_yaml(path) if path.is_file() else {}
        wanted = {*NUMERIC, *names}
    found = {name: text for name in wanted if (text := installed_version(name)) is not None}
    if keeps_known:
        found |= before
    if found != before or not keeps_known:
        lines = "".join(f'{name}: "{text}"\n' for name, text in sorted(found.items()))
        write_text(path, _HEADER + lines)
    return [
        f"{name}: {before.get(name, 'new')} -> {found.get(name, 'not installed')}"
        for name in sorted({*before, *found})
        if before.get(name) != found.get(name)
    ]


def check_versions(root: Path) -> None:
    """Compare versions.lock with what is installed.

    Raises:
        ConfigError: the file is missing, or an installed package has another version. A package that is not
            installed is no difference: what needs it cannot run.
    """
    different = [
        f"{name} {found} is installed, {expected} in {FILE_NAME}"
        for name, expected in read_versions(root).items()
        if (found := installed_version(name)) is not None and found != expected
    ]
    if different:
        raise ConfigError(
            f"{'; '.join(different)}. The results in dvc.lock belong to the versions in {FILE_NAME}. Install "
            f"those (`pip install -r requirements.lock`), or let `sacpipe lock` write the installed ones: "
            "`dvc status` then lists the stages that have to run again."
        )
