"""The part of dvc.yaml that `sacpipe lock` writes: files and versions that each stage depends on.

In `deps` and in `params` of a stage, a pair of comment lines encloses it. All other lines are the project's
own and stay as they are.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import write_text
from sacpipe.project.identity.versions import FILE_NAME

BEGIN = "# sacpipe lock: begin"
END = "# sacpipe lock: end"
_STAGE_INDENT = 2
_SECTION_INDENT = 4


@dataclass(frozen=True)
class StageNeeds:
    """What the bytes of a stage's outputs depend on, besides params and the outputs of other stages."""

    files: frozenset[str]
    """Paths relative to the project's folder; absolute ones for files outside of it."""
    packages: frozenset[str]
    """Names of distributions."""

    def __or__(self, other: "StageNeeds") -> "StageNeeds":
        return StageNeeds(self.files | other.files, self.packages | other.packages)


def listed_needs(root: Path, stage: str) -> StageNeeds:
    """Return what a stage of dvc.yaml names: its dependencies, and its keys of versions.lock.

    Raises:
        ConfigError: dvc.yaml is no YAML or lacks the stage.
    """
    entry = (read_yaml(root / "dvc.yaml").get("stages") or {}).get(stage)
    if entry is None:
        raise ConfigError(f"{root / 'dvc.yaml'}: no stage '{stage}'.")
    packages: list[str] = []
    for item in entry.get("params") or ():
        if isinstance(item, Mapping) and FILE_NAME in item:
            packages += item[FILE_NAME] or ()
    return StageNeeds(
        frozenset(posixpath.normpath(path) for path in entry.get("deps") or ()), frozenset(packages)
    )


def covers(paths: Iterable[str], path: str) -> bool:
    """Return whether a path is one of those named, or below one."""
    return any(path == name or path.startswith(f"{name}/") for name in paths)


def missing_lines(listed: StageNeeds, needed: StageNeeds) -> list[str]:
    """Return the lines that dvc.yaml lacks for what a stage needs: paths, then keys of versions.lock."""
    lines = _lines(StageNeeds(needed.files, needed.packages - listed.packages), listed.files)
    return lines["deps"] + lines["params"]


def write_dependency_lines(root: Path, needs: Mapping[str, StageNeeds]) -> list[str]:
    """Replace the enclosed lines of stages by what they need, sorted; return the names of changed stages.

    A file that a line of the project's own names already, or a folder above it, gets no second line.

    Raises:
        ConfigError: dvc.yaml lacks a stage or its pair of comment lines (has the lines to write by hand), or
            one of a pair is missing.
        StorageError: it cannot be written.
    """
    path = root / "dvc.yaml"
    before = path.read_text(encoding="utf-8").splitlines()
    _check_pairs(before, path)
    own = _own_files(before, path)
    wanted = {
        (stage, section): lines
        for stage, needed in needs.items()
        for section, lines in _lines(needed, own.get(stage, frozenset())).items()
    }
    after: list[str] = []
    found: dict[tuple[str, str], list[str]] = {place: [] for place in wanted}
    for line, place, enclosed in _read(before):
        if not enclosed or place not in wanted:
            after.append(line)
            continue
        found[place].append(line.strip())
        if line.strip() == BEGIN:
            indent = line[: len(line) - len(line.lstrip())]
            after += [line, *(indent + text for text in wanted[place]), indent + END]
    for (stage, section), lines in wanted.items():
        if not found[stage, section]:
            listed = "\n".join(f"      {line}" for line in lines)
            raise ConfigError(
                f"{path}: stage '{stage}' has no lines `{BEGIN}` and `{END}` under `{section}`, between "
                "which `sacpipe lock` writes what the stage needs. Add them, or write these lines yourself:\n"
                f"{listed}"
            )
    changed = dict.fromkeys(place[0] for place, lines in wanted.items() if found[place][1:-1] != lines)
    if changed:
        write_text(path, "\n".join(after) + "\n")
    return list(changed)


def _lines(needed: StageNeeds, own: frozenset[str]) -> dict[str, list[str]]:
    files = [f"- {_scalar(path)}" for path in sorted(needed.files) if not covers(own, path)]
    names = ", ".join(sorted(needed.packages))
    return {"deps": files, "params": [f"- {FILE_NAME}: [{names}]"] if names else []}


def _read(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, str], bool]]:
    """Return each line of dvc.yaml with its stage and section, and whether it is enclosed.

    Stages are indented by two blanks, and sections by four, as `dvc stage add` writes them.
    """
    stage = section = ""
    enclosed = False
    for line in lines:
        if found := re.match(r"( *)([\w.-]+):", line):
            if len(found[1]) == _STAGE_INDENT:
                stage, section = found[2], ""
            elif len(found[1]) == _SECTION_INDENT:
                section = found[2]
        enclosed = enclosed or line.strip() == BEGIN
        yield line, (stage, section), enclosed
        enclosed = enclosed and line.strip() != END


def _check_pairs(lines: Iterable[str], path: Path) -> None:
    """Refuse a comment line without its other one: the lines after it would be taken for generated ones.

    Raises:
        ConfigError: names the line.
    """
    opened: tuple[str, str] | None = None
    closed: set[tuple[str, str]] = set()
    last = ("", ("", ""), False)  # closes the last section
    for number, (line, place, _) in enumerate([*_read(lines), last], start=1):
        begins, ends = line.strip() == BEGIN, line.strip() == END
        is_second = begins and place in closed
        if is_second or (ends and opened is None) or (opened is not None and (begins or place != opened)):
            raise ConfigError(
                f"{path}, line {number}: expected one line `{BEGIN}` and after it one line `{END}` in a "
                "section of a stage, found another order. Repair the comment lines, then run `sacpipe lock`."
            )
        if begins:
            opened = place
        elif ends:
            closed.add(place)
            opened = None


def _own_files(lines: Iterable[str], path: Path) -> dict[str, frozenset[str]]:
    """Return the dependencies of each stage that are not enclosed."""
    text = "\n".join(line for line, _, enclosed in _read(lines) if not enclosed)
    try:
        stages = (YAML(typ="safe").load(text) or {}).get("stages") or {}
    except YAMLError as exc:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(exc).split())}") from exc
    return {
        stage: frozenset(posixpath.normpath(file) for file in entry.get("deps") or ())
        for stage, entry in stages.items()
    }


def _scalar(path: str) -> str:
    """Write a path as YAML: in quotes where it is not plain text, as a number is not."""
    if re.fullmatch(r"[A-Za-z_/][A-Za-z0-9_/+@-]*[./][A-Za-z0-9_./+@-]*", path):
        return path
    return "'" + path.replace("'", "''") + "'"
