"""The gate in a process of its own, for a server that must not die of what it judges.

A graph that breaks no rule may still bring onnxruntime down, or ask it for all memory or all time. So
a bundle goes through the whole gate in a child first; only what passed there is loaded here. As a
module, this is that child: settings, limits and files on stdin, what the gate said on stdout.
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

_KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
"""Of the environment, what the child gets: not the tokens."""
_SAID = 200
"""Characters of a child's last line that are told."""


class ChildLimits(Config):
    """What the child may take."""

    time_s: float = Field(gt=0)
    address_bytes: int = Field(gt=0)
    """Of its address space."""


LIMITS = ChildLimits(time_s=60.0, address_bytes=2**32)


class _Task(Config):
    settings: LoadGateSettings
    limits: ChildLimits
    sizes: dict[str, int]
    """Bytes of each file; they follow one after the other."""


class _Finding(Config):
    rule: BundleRule | None
    """That refused it; null where it passed."""
    fault: str
    p99_us: float


def run_load_gate_in_child(
    files: Mapping[str, bytes], settings: LoadGateSettings, limits: ChildLimits = LIMITS
) -> AdmittedBundle:
    """Pass a bundle through the gate in a child, then load it here.

    Args:
        files: What a source gave, by name.
        settings: What the operator asks.
        limits: Of the child.

    Raises:
        GateError: names the rule; `process` where the child died or took too long.
        ConfigError: a signature is to be checked and the package `cryptography` is missing.
    """
    try:
        check_signature(files, settings)  # before any process looks at the rest
    except BundleError as exc:
        raise GateError(str(exc), exc.rule or "signature") from exc
    sizes = {name: len(data) for name, data in files.items()}
    task = _Task(settings=settings, limits=limits, sizes=sizes)
    finding = _ask_child(b"\n".join([task.model_dump_json().encode(), b"".join(files.values())]), limits)
    if finding.rule is not None:
        raise GateError(finding.fault, finding.rule)
    return run_load_gate(files, settings, p99_us=finding.p99_us)


def _ask_child(task: bytes, limits: ChildLimits) -> _Finding:
    # It imports from the current folder only where this process does, by `python -m`.
    safe = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
    try:
        child = subprocess.run(
            [sys.executable, *safe, "-m", "sacpipe.rollout.load_gate_process"],
            input=task,
            capture_output=True,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            timeout=limits.time_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise _refuse(f"a verdict within {limits.time_s:g} s", "none") from exc
    except OSError as exc:
        raise _refuse("a process to judge it", str(exc)) from exc
    if child.returncode != 0:
        said = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        words = f", which said {said[:_SAID]!a}" if said else ""
        raise _refuse("a process that ends by itself", f"exit code {child.returncode}{words}")
    try:
        return _Finding.model_validate_json(child.stdout)
    except ValidationError as exc:
        raise _refuse("a verdict", f"{child.stdout[:_SAID]!a}") from exc


def _refuse(expected: str, found: str) -> GateError:
    fault = f"expected {expected}, found {found}. The bundle was not loaded here; export another one."
    return GateError(fault, "process")


def main() -> int:
    """Judge what stdin holds; the exit code is 0 where there is a verdict."""
    task = _Task.model_validate_json(sys.stdin.buffer.readline())
    time_s = int(task.limits.time_s) + 1
    resource.setrlimit(resource.RLIMIT_AS, (task.limits.address_bytes, task.limits.address_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (time_s, time_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = {name: sys.stdin.buffer.read(size) for name, size in task.sizes.items()}
    try:
        p99_us = run_load_gate(files, task.settings).report.p99_us
        finding = _Finding(rule=None, fault="", p99_us=p99_us)
    except GateError as exc:
        prefix = f"refused by the rule '{exc.rule}': "
        finding = _Finding(rule=exc.rule, fault=str(exc).removeprefix(prefix), p99_us=0.0)
    sys.stdout.write(json.dumps(finding.as_tree()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
