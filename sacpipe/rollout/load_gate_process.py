"""The load gate in a child process, so that a bundle cannot crash the server.

A graph that breaks no rule may still crash onnxruntime, or take all memory or time. So a bundle passes the
whole load gate in a child process first; only then is it loaded here. Run as a module, this file is that
child: it reads settings, limits and files from stdin and writes a report to stdout.

The child's memory is bounded by its address space, from the moment when everything is imported. Measured: a
policy of 1 kB takes 1 MiB more, one of 256 MB takes 734 MB more, 2.9 times its files.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError, BundleRule, GateError
from sacpipe.robot.load_gate import AdmittedBundle, LoadGateSettings, check_signature, run_load_gate

_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
"""Environment variables that the child gets. Tokens are not among them."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""Variables that keep the child's address space independent of the number of processors."""
_SHARE_OF_FILES = 6
"""Address space that the child may take for its files, as a multiple of their size: they are read, and
onnxruntime copies the constants up to twice."""
_MAX_OUTPUT_CHARS = 200
"""Number of characters of the child's output that an error shows."""


class ChildLimits(Config):
    """Limits of the child process."""

    time_s: float = Field(gt=0)
    """Maximum run time, in seconds."""
    address_bytes: int = Field(gt=0)
    """Maximum growth of the address space after the imports, in bytes, beyond `_SHARE_OF_FILES` times the
    size of the files."""


LIMITS = ChildLimits(time_s=60.0, address_bytes=2**28)


class _ChildInput(Config):
    """First line of the child's stdin. The bytes of the files follow it."""

    settings: LoadGateSettings
    limits: ChildLimits
    sizes: dict[str, int]
    """Size of each file in bytes, in the order of the files."""


class _ChildReport(Config):
    """The child's stdout."""

    rule: BundleRule | None
    """Rule that refused the bundle; null where it passed."""
    fault: str
    p99_us: float


def run_load_gate_in_child(
    files: Mapping[str, bytes], settings: LoadGateSettings, limits: ChildLimits = LIMITS
) -> AdmittedBundle:
    """Pass a bundle through the load gate in a child process, then load it here.

    Args:
        files: The bundle's files by name, as a source returns them.
        settings: Acceptance settings of the operator.
        limits: Limits of the child process.

    Raises:
        GateError: names the rule; `process` where the child died or exceeded a limit.
        ConfigError: a signature must be checked and the package `cryptography` is missing.
    """
    try:
        check_signature(files, settings)  # before a process reads the other files
    except BundleError as exc:
        raise GateError(str(exc), exc.rule or "signature") from exc
    sizes = {name: len(data) for name, data in files.items()}
    task = _ChildInput(settings=settings, limits=limits, sizes=sizes)
    report = _run_child(b"\n".join([task.model_dump_json().encode(), b"".join(files.values())]), limits)
    if report.rule is not None:
        raise GateError(report.fault, report.rule)
    return run_load_gate(files, settings, p99_us=report.p99_us)


def _run_child(child_input: bytes, limits: ChildLimits) -> _ChildReport:
    # The child imports from the current folder only where this process does, as after `python -m`.
    safe = [] if _imports_from_here() else ["-P"]
    try:
        child = subprocess.run(
            [sys.executable, *safe, "-m", "sacpipe.rollout.load_gate_process"],
            input=child_input,
            capture_output=True,
            env=_ONE_THREAD | {name: os.environ[name] for name in _VARIABLES if name in os.environ},
            timeout=limits.time_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise _refuse(f"a report within {limits.time_s:g} s", "none") from exc
    except OSError as exc:
        raise _refuse("a child process", str(exc)) from exc
    if child.returncode != 0:
        last_line = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        details = f" and the message {last_line[:_MAX_OUTPUT_CHARS]!a}" if last_line else ""
        raise _refuse("a child process with exit code 0", f"exit code {child.returncode}{details}")
    try:
        return _ChildReport.model_validate_json(child.stdout)
    except ValidationError as exc:
        raise _refuse("a report", f"{child.stdout[:_MAX_OUTPUT_CHARS]!a}") from exc


def _imports_from_here() -> bool:
    """Return whether this process imports from its current folder."""
    try:
        return bool({"", str(Path.cwd())} & set(sys.path))
    except OSError:  # the folder was removed
        return False


def _refuse(expected: str, found: str) -> GateError:
    fault = f"expected {expected}, found {found}. The bundle was not loaded here; export another one."
    return GateError(fault, "process")


def _address_bytes() -> int:
    """Return the size of this process's address space now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def main() -> int:
    """Check the bundle on stdin and write the report; the exit code is 0 where there is one."""
    task = _ChildInput.model_validate_json(sys.stdin.buffer.readline())
    time_s = int(task.limits.time_s) + 1
    max_bytes = _address_bytes() + task.limits.address_bytes + _SHARE_OF_FILES * sum(task.sizes.values())
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (time_s, time_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = {name: sys.stdin.buffer.read(size) for name, size in task.sizes.items()}
    try:
        p99_us = run_load_gate(files, task.settings).report.p99_us
        report = _ChildReport(rule=None, fault="", p99_us=p99_us)
    except GateError as exc:
        prefix = f"refused by the rule '{exc.rule}': "
        report = _ChildReport(rule=exc.rule, fault=str(exc).removeprefix(prefix), p99_us=0.0)
    sys.stdout.write(json.dumps(report.as_tree()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
