"""`sacpipe doctor`: check this machine, and print advice where a check fails."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sacpipe.cli.doctor_kernels import (
    describe_compiler,
    describe_kernels,
    describe_processor,
    describe_self_test,
)
from sacpipe.cli.output import write_output
from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.core.fence import first_error
from sacpipe.project.workspace import Workspace

HELP = "check versions, programs, renderer, processor, stores and disk, and print advice where a check fails"
EXAMPLE = "  sacpipe doctor\n  sacpipe doctor --json"

_PACKAGES = (
    "torch",
    "gymnasium",
    "mujoco",
    "dm_control",
    "onnx",
    "onnxruntime",
    "dvc",
    "prefect",
    "fastapi",
)
_NEEDED_FREE_BYTES = 2 << 30


@dataclass(frozen=True)
class Check:
    """One thing that a run uses."""

    name: str
    needed: bool
    """Whether `sacpipe run` fails where this check fails."""
    without: str
    """What is the matter where it fails."""
    find: Callable[[], str]
    """Returns what was found; raises a SacpipeError with advice, or what the checked program raises."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    ok: bool
    needed: bool
    found: str
    advice: str


def examine(check: Check) -> Finding:
    """Run a check. Whatever it raises is a failure of this check, and the other checks go on."""
    found: list[str] = []
    error = first_error(lambda: found.append(check.find()))
    if error is None:
        return Finding(check.name, True, check.needed, found[0], "")
    text = " ".join(str(error).split())
    advice = text if isinstance(error, SacpipeError) else f"{type(error).__name__}: {text}"
    may_pass = isinstance(error, SacpipeError) and error.retryable
    return Finding(check.name, False, check.needed and not may_pass, check.without, advice)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--brief", action="store_true", help="print only what needs attention, and one closing line"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(arguments: argparse.Namespace) -> int:
    """Print every check; exit code 1 where a needed one fails."""
    results = [examine(check) for check in CHECKS]
    if arguments.json:
        write_output(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    else:
        write_output(_text(results, brief=arguments.brief))
    return 0 if _is_healthy(results) else 1


def check_before_run(write: Callable[[str], object]) -> bool:
    """Check this machine for a run that follows in this process; return whether it can run.

    Simulator and ledger are left out, because a run opens its own, and has to be the first that loads them:
    what is loaded before its task counts as the task's.

    Args:
        write: Gets what needs attention, and one closing line.
    """
    results = [examine(check) for check in CHECKS if check.find not in (_simulator, _ledger)]
    write(_text(results, brief=True))
    return _is_healthy(results)


def _is_healthy(results: Sequence[Finding]) -> bool:
    return all(result.ok for result in results if result.needed)


def _text(results: Sequence[Finding], *, brief: bool) -> str:
    lines = []
    for result in results:
        if brief and result.ok:
            continue
        mark = "ok  " if result.ok else ("FAIL" if result.needed else "note")
        lines.append(f"{mark}  {result.name:<12} {result.found}\n")
        if not result.ok:
            lines.append(f"      {'':<12} {result.advice}\n")
    healthy = _is_healthy(results)
    lines.append("This machine is ready.\n" if healthy else "This machine is not ready; see FAIL above.\n")
    return "".join(lines)


def _packages() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [f"python {sys.version.split()[0]}"], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        raise ConfigError(
            f"missing: {', '.join(missing)}. Run `make run`, or `pip install -r requirements.lock`."
        )
    return ", ".join(found)


def _git() -> str:
    path = shutil.which("git")
    if path is None:
        raise ConfigError("install git, e.g. Debian's package git: no commit is recorded without it.")
    shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    return shown.stdout.strip()


def _video_encoder() -> str:
    import imageio_ffmpeg

    return Path(imageio_ffmpeg.get_ffmpeg_exe()).name


def _orchestrator() -> str:
    from sacpipe.flow.orchestrator import open_orchestrator

    return open_orchestrator("prefect", Workspace.enter()).describe()


def _simulator() -> str:
    from sacpipe.envs import find_task

    environment = find_task("gymnasium/InvertedDoublePendulum-v5").make()  # without OpenGL, as training
    environment.reset(0)
    environment.close()
    import mujoco

    return f"MuJoCo {mujoco.mj_versionString()} steps"


def _renderer() -> str:
    from sacpipe.envs.rendering.opengl import choose_renderer

    wanted = os.environ.get("MUJOCO_GL", "")
    chosen = choose_renderer()
    note = f"; MUJOCO_GL={wanted} does not work here" if wanted.lower() not in ("", chosen) else ""
    return f"off-screen images by {chosen}{note}"


def _devices() -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores, torch {torch.__version__} on the CPU"


def _workspace() -> str:
    from sacpipe.core.files import check_writable

    workspace = Workspace.find()
    check_writable(workspace.state)
    return f"{workspace.root.name}/ is writable"


def _versions() -> str:
    from sacpipe.project.identity.versions import check_versions, read_versions

    root = Workspace.find().root
    check_versions(root)
    return f"{len(read_versions(root))} packages as in versions.lock"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    if free < _NEEDED_FREE_BYTES:
        raise ConfigError(
            f"found {free / 2**30:.1f} GiB; free at least {_NEEDED_FREE_BYTES >> 30} GiB: pools, their DVC "
            "cache and the remote need room."
        )
    return f"{free / 2**30:.0f} GiB free"


def _ledger() -> str:
    from sacpipe.tracking.chosen import open_ledger

    ledger = open_ledger(Workspace.enter())
    ledger.check()
    return ledger.describe()


def _remote() -> str:
    from sacpipe.project.dvc.commands import DvcStore

    return DvcStore(Workspace.find().root).describe()


CHECKS = (
    Check("packages", True, "some are not installed", _packages),
    Check("git", False, "not found: results cannot be traced to a commit", _git),
    Check("orchestrator", True, "cannot be used", _orchestrator),
    Check("simulator", True, "MuJoCo does not step", _simulator),
    Check("renderer", False, "none: evaluation makes no video", _renderer),
    Check("encoder", False, "no ffmpeg: evaluation makes no video", _video_encoder),
    Check("devices", True, "torch cannot be used", _devices),
    Check("processor", False, "cannot be described", describe_processor),
    Check("compiler", False, "none: the native engine cannot be built", describe_compiler),
    Check("kernels", False, "the native engine cannot be used", describe_kernels),
    Check("self-test", False, "failed: do not use the native engine", describe_self_test),
    Check("workspace", True, "cannot be used", _workspace),
    Check("versions", True, "not those of versions.lock", _versions),
    Check("disk", True, "too little room", _disk),
    Check("ledger", True, "nothing can be recorded", _ledger),
    Check("dvc", True, "cannot be used", _remote),
)
