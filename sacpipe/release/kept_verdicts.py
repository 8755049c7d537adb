"""Verdicts that are kept in `.sacpipe/verdicts`, one file each, by the digest of all that they depend on.

A verdict is computed again when candidate, champion, release section, seed, task, code, versions, what the
export measured or the machine differ. The latency in a kept one is of its own time, which the verdict names.
A refusal whose cause may pass is kept for reports alone, and judged again.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sacpipe.core.errors import ConfigError, StorageError
from sacpipe.core.files import canonical_json, read_json, sha256_bytes, write_json
from sacpipe.envs.base import Environment
from sacpipe.project.identity.members import members_of
from sacpipe.project.identity.needs import member_needs, task_needs
from sacpipe.project.identity.versions import NUMERIC, installed_version
from sacpipe.project.processor_kind import this_processor
from sacpipe.project.stage_key import DiskTree, dvc_md5
from sacpipe.project.workspace import Workspace
from sacpipe.release.config import ReleaseParams
from sacpipe.release.verdict import Verdict

_CODE = ("core", "specs", "bundle", "envs", "evaluation", "robot", "release")
"""Packages of sacpipe whose code a verdict depends on."""
_PASSING = "-passing"
"""End of the name of a verdict that is judged again."""


@dataclass(frozen=True)
class JudgingCode:
    """The code that judges, but for sacpipe's own."""

    files: Mapping[str, str]
    """DVC's digest of each file or folder of the task and of the rules, as it is in the project's folder."""
    versions: Mapping[str, str | None]
    """Versions of packages; null for one that is not installed."""


def judging_code(root: Path, params: ReleaseParams, environment: Environment) -> JudgingCode:
    """Return the code of the task and of the rules.

    Args:
        root: The project's folder.
        params: Seed, task and release section.
        environment: The task, probed while the project's files were recorded.
    """
    needs = task_needs(root, environment) | member_needs(root, members_of(params.release))
    tree = DiskTree(root)
    return JudgingCode(
        {path: dvc_md5(tree, path) for path in sorted(needs.files)},
        {name: installed_version(name) for name in sorted(needs.packages | {*NUMERIC})},
    )


def dependencies_digest(params: ReleaseParams, code: JudgingCode, others: Sequence[Any]) -> str:
    """Return the digest of all that a verdict depends on, this machine among it.

    Args:
        params: Seed, task and release section.
        code: Code of the task and of the rules.
        others: What else it depends on, as JSON.
    """
    machine = [this_processor().as_tree(), platform.node()]
    judging = [dict(code.files), dict(code.versions), _code_digest()]
    return sha256_bytes(canonical_json([params.as_tree(), *judging, machine, list(others)]).encode())


@cache
def _code_digest() -> str:
    package = Path(__file__).parents[1]
    files = [path for name in _CODE for path in sorted((package / name).rglob("*.py"))]
    return sha256_bytes(b"".join(path.read_bytes() for path in files))


def read_kept(workspace: Workspace, digest: str) -> Verdict | None:
    """Return the verdict of a digest; None where none is kept, or it cannot be read."""
    return _read(_folder(workspace) / f"{digest}.json")


def write_kept(workspace: Workspace, digest: str, verdict: Verdict, *, lasts: bool) -> None:
    """Keep a verdict.

    Args:
        workspace: The project.
        digest: See `dependencies_digest`.
        verdict: The verdict.
        lasts: Whether `read_kept` may return it; else it is for `all_kept` alone.

    Raises:
        StorageError: the file cannot be written.
    """
    name = digest if lasts else f"{digest}{_PASSING}"
    write_json(_folder(workspace) / f"{name}.json", verdict.as_tree())


def all_kept(workspace: Workspace) -> Iterator[Verdict]:
    """Yield every kept verdict that can be read."""
    for path in sorted(_folder(workspace).glob("*.json")):
        verdict = _read(path)
        if verdict is not None:
            yield verdict


def _read(path: Path) -> Verdict | None:
    try:
        return Verdict.parse(read_json(path, StorageError), source=str(path))
    except (StorageError, ConfigError):  # missing, damaged, or of another version: it is judged again
        return None


def _folder(workspace: Workspace) -> Path:
    return workspace.state / "verdicts"
