"""`sacpipe doctor`: check this machine, and print advice where a check fails."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sacpipe.cli.output import write_output

HELP = "check versions, renderer, devices, stores and disk, and print advice where a check fails"
EXAMPLE = "  sacpipe doctor\n  sacpipe doctor --json"

_PACKAGES = (
    "torch",
    "gymnasium",
    "mujoco",
    "dm_control",
    "onnx",
    "onnxruntime",
    "mlflow",
    "dvc",
    "prefect",
    "fastapi",
)
_NEEDED_FREE_BYTES = 2 << 30


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    needed: bool
    """Whether `sacpipe run` fails where this check fails."""
    found: str
    advice: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--brief", action="store_true", help="print only what needs attention, and one closing line"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(arguments: argparse.Namespace) -> int:
    """Print every check; exit code 1 where a needed one fails."""
    results = [check() for check in CHECKS]
    healthy = all(result.ok for result in results if result.needed)
    if arguments.json:
        write_output(json.dumps([asdict(result) for result in results], indent=2) + "\n")
        return 0 if healthy else 1
    for result in results:
        if arguments.brief and result.ok:
            continue
        mark = "ok  " if result.ok else ("FAIL" if result.needed else "note")
        write_output(f"{mark}  {result.name:<12} {result.found}\n")
        if not result.ok:
            write_output(f"      {'':<12} {result.advice}\n")
    write_output("This machine is ready.\n" if healthy else "This machine is not ready; see FAIL above.\n")
    return 0 if healthy else 1


def _packages() -> Check:
    from importlib.metadata import PackageNotFoundError, version

    found, missing = [f"python {sys.version.split()[0]}"], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    advice = f"missing: {', '.join(missing)}. Run `make run`, or `pip install -r requirements.lock`."
    return Check("packages", not missing, True, ", ".join(found), advice)


def _orchestrator() -> Check:
    """Check the version of fastapi, with which an unpinned installation breaks Prefect."""
    from importlib.metadata import version

    found = tuple(int(part) for part in version("fastapi").split(".")[:2])
    advice = "Prefect 3.8's server needs fastapi >=0.139,<0.151: `pip install -r requirements.lock`."
    return Check("orchestrator", (0, 139) <= found < (0, 151), True, f"fastapi {version('fastapi')}", advice)


def _simulator() -> Check:
    import gymnasium
    import mujoco

    environment = gymnasium.make("InvertedDoublePendulum-v5")
    environment.reset(seed=0)
    environment.close()
    return Check("simulator", True, True, f"MuJoCo {mujoco.mj_versionString()} steps", "")


def _renderer() -> Check:
    from sacpipe.core.errors import RendererError
    from sacpipe.envs.rendering.opengl import choose_renderer

    try:
        return Check("renderer", True, False, f"off-screen images by {choose_renderer()}", "")
    except RendererError as exc:
        return Check("renderer", False, False, "none: evaluation makes no video", str(exc))


def _devices() -> Check:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check("devices", True, True, f"{cores} CPU cores, torch {torch.__version__} on the CPU", "")


def _workspace() -> Check:
    from sacpipe.core.errors import SacpipeError
    from sacpipe.core.files import write_bytes
    from sacpipe.project.workspace import Workspace

    try:
        workspace = Workspace.find()
        probe = workspace.state / "probe"
        write_bytes(probe, b"")
        probe.unlink()
    except SacpipeError as exc:
        return Check("workspace", False, True, "cannot be used", str(exc))
    return Check("workspace", True, True, f"{workspace.root.name}/ is writable", "")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    advice = f"free at least {_NEEDED_FREE_BYTES >> 30} GiB: pools, their DVC cache and the remote need room."
    return Check("disk", free >= _NEEDED_FREE_BYTES, True, f"{free / 2**30:.0f} GiB free", advice)


def _ledger() -> Check:
    from sacpipe.core.errors import SacpipeError
    from sacpipe.project.workspace import Workspace
    from sacpipe.tracking.mlflow.connection import MlflowConnection

    try:
        workspace = Workspace.find()
        uri = workspace.tracking_uri()
        if uri.startswith("sqlite"):
            return Check("ledger", True, False, "MLflow on the embedded SQLite store", "")
        MlflowConnection(uri, workspace.artifacts).check()
    except SacpipeError as exc:
        return Check("ledger", False, False, "MLflow does not answer", str(exc))
    return Check("ledger", True, False, f"MLflow answers at {uri}", "")


def _remote() -> Check:
    from sacpipe.core.errors import SacpipeError
    from sacpipe.project.dvc.commands import DvcStore
    from sacpipe.project.workspace import Workspace

    try:
        found = DvcStore(Workspace.find().root).describe()
    except SacpipeError as exc:
        return Check("dvc", False, True, "cannot be used", str(exc))
    return Check("dvc", True, True, found, "")


CHECKS: tuple[Callable[[], Check], ...] = (
    _packages,
    _orchestrator,
    _simulator,
    _renderer,
    _devices,
    _workspace,
    _disk,
    _ledger,
    _remote,
)
