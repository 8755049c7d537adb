"""Writes the page, if it is not that of the present outputs already.

A run with nothing to do must be fast, so this module imports neither templates nor plots: the page has the
digest of all that it was made from, and a page with the present digest is left as it is.
"""

import hashlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from sacpipe.core.files import canonical_json, sha256_file, write_text
from sacpipe.project.stage_key import locked_outs
from sacpipe.project.workspace import Workspace
from sacpipe.release.verdict import Verdict
from sacpipe.report.outputs import REQUIRED, Outputs
from sacpipe.report.section import own_sections
from sacpipe.training.metrics import LEARNER_METRICS
from sacpipe.version import __version__

_PROGRAM = (".py", ".html", ".css", ".mplstyle")
_HEAD_BYTES = 400
"""The digest is within the first ones of a page."""


def write_report(workspace: Workspace, verdict: Verdict | None, path: Path | None = None) -> Path:
    """Write the report of the present outputs, atomically, and return its path.

    A page with sections of others has no digest and is written every time: what they read is not known.

    Args:
        workspace: The project.
        verdict: Of the release gate; None if it did not run.
        path: Of the page; `.sacpipe/report.html` by default.

    Raises:
        StorageError: an output is missing or malformed, or the page cannot be written.
        StoreError: dvc.lock is of another DVC.
        ConfigError: params.yaml is wrong.
        PoolError: the pool's manifest is wrong.
        BundleError: the bundle differs from its manifest.
    """
    path = path or workspace.report
    outputs = Outputs(workspace, verdict)
    outputs.require_files()
    digest, sections = inputs_digest(outputs), own_sections(workspace.settings)
    if sections or not _is_of(path, digest):
        from sacpipe.report.rendering import render

        write_text(path, render(outputs, sections, "" if sections else digest))
    return path


def inputs_digest(outputs: Outputs) -> str:
    """Return the SHA-256 of all that a page of the product's sections depends on: files, verdict, program."""
    verdict = None if outputs.verdict is None else outputs.verdict.as_tree()
    digest = hashlib.sha256(canonical_json([__version__, verdict]).encode())
    for name, found in _input_files(outputs):
        digest.update(f"{name} {found}\n".encode())
    return digest.hexdigest()


def _input_files(outputs: Outputs) -> Iterator[tuple[str, str]]:
    """Yield name and SHA-256 of each file, in an order that is always the same.

    Of checkpoints the names: they hold the step, and their folder the run's identity.
    """
    program = Path(str(resources.files("sacpipe.report")))
    for path in sorted(path for path in program.rglob("*.*") if path.suffix in _PROGRAM):
        yield path.relative_to(program).as_posix(), sha256_file(path)
    root, work = outputs.workspace.root, f"work/{outputs.work_folder.name}"
    names = {*REQUIRED, f"{work}/throughput.jsonl", f"{work}/{LEARNER_METRICS}"}
    names |= {name for entry in outputs.stages.values() for name in locked_outs(entry)}
    for folder in ("out/export/bundle", "out/evaluate/video"):
        names |= {f"{folder}/{path.name}" for path in (root / folder).glob("*")}
    for name in sorted(names):
        if (root / name).is_file():
            yield name, sha256_file(root / name)
    yield "", str(sorted(path.name for path in (root / work / "checkpoints").glob("*")))


def _is_of(path: Path, digest: str) -> bool:
    """Return whether a page was made from the inputs of a digest."""
    try:
        with path.open("rb") as file:
            return f'content="{digest}"'.encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False
