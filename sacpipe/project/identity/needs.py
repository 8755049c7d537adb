"""What the stages of a project need, found by looking, and the refusal of what dvc.yaml does not name."""

import contextlib
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import numpy as np

from sacpipe.core.errors import ConfigError, RendererError
from sacpipe.envs.base import Environment, TaskSection
from sacpipe.project.identity.dependency_lines import StageNeeds, covers, listed_needs, missing_lines
from sacpipe.project.identity.opened_files import (
    files_recorded,
    imported_modules,
    opened_files,
    record_new_models,
)
from sacpipe.project.identity.own_code import PRODUCT, foreign_modules, installed_package, own_code
from sacpipe.project.identity.source_code import has_code, source_code
from sacpipe.project.identity.versions import NUMERIC, distributions_of

OUTSIDE_IDENTITY = (
    "pipelines/flow.py",  # calls the stages
    "sacpipe/__init__.py",  # names of the public API
    "sacpipe/algorithms/__init__.py",  # the table: the algorithm's own file counts
    "sacpipe/core/crash_log.py",
    "sacpipe/core/errors.py",  # texts of messages
    "sacpipe/core/fence.py",
    "sacpipe/core/locks.py",
    "sacpipe/core/logging.py",
    "sacpipe/core/members.py",  # finds members by name: the member's own file counts
    "sacpipe/engines/__init__.py",  # the table: the engine's own file counts
    "sacpipe/envs/__init__.py",  # the table: the suite's own file counts
    "sacpipe/envs/foreign_code.py",  # a task's errors as ours
    "sacpipe/envs/rendering",  # pictures for people, which depend on the machine's renderer as well
    "sacpipe/evaluation/video.py",
    "sacpipe/kernels/cache.py",  # where a library is kept
    "sacpipe/kernels/compiler.py",  # which compiler is found: results do not depend on it
    "sacpipe/kernels/peak.py",
    "sacpipe/kernels/self_test.py",
    "sacpipe/kernels/team.py",  # the number of threads changes no byte
    "sacpipe/networks/policies/__init__.py",  # the table: the policy kind's own file counts
    "sacpipe/networks/trunks/__init__.py",  # the table: the trunk's own file counts
    "sacpipe/project",  # paths, digests, and this check
    "sacpipe/replay/samplers/__init__.py",  # the table: the sampler's own file counts
    "sacpipe/robot/guards",  # no stage runs a guard, and its settings are params
    "sacpipe/specs/budget.py",  # for the values of a new params.yaml
    "sacpipe/training/clock.py",  # durations, which are in no output
    "sacpipe/training/progress_display.py",
    "sacpipe/version.py",
)
"""Files and folders of the product that stages load and that change no result that is compared."""

_SOURCES = {
    "sacpipe/kernels/build.py": "sacpipe/kernels/csrc",
    "sacpipe/envs/softlearning/mujoco_simulation.py": "sacpipe/envs/softlearning/models",
}
"""Files that compile others, C++ or MuJoCo models: what they compile counts where they count."""

_PACKAGE = Path(__file__).parents[2]
"""Folder of sacpipe's code, which may be an editable installation."""
_OWN_FILES = (
    ".dvc", ".dvcignore", ".git", ".sacpipe", "data/pool", "data/warm_start", "dvc.lock", "dvc.yaml", "out",
    "params.yaml", "results", "versions.lock", "work",
)  # fmt: skip
"""Paths of a project that stages read themselves: params, outputs, checkpoints, and the pool and the weights,
which `replay.initial_pool` and `training.warm_start` name by their digests."""
_METADATA = (".egg-info", ".dist-info")
"""Last characters of folders in which a stage looks up which distribution has a package or a member.

They are beside the code of editable installations as well, in the project or outside of it."""
_SYSTEM = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var")


def product_needs(root: Path, stage: str, members: Iterable[str]) -> StageNeeds:
    """Return the product's files that a stage loads, and the numeric packages that they import.

    Args:
        root: The project's folder.
        stage: Name of the stage; its file is pipelines/stages/<stage>.py.
        members: Modules of the members that params choose from tables.
    """
    entry = f"pipelines.stages.{stage}"
    found = source_code(root, [entry, *members], _counts)
    packages = found.packages & {*NUMERIC}
    if not (root / "sacpipe").is_dir():
        packages |= {"sacpipe"}  # installed, not a part of the project
    return StageNeeds(_with_sources(found.files), distributions_of(packages))


def task_needs(root: Path, environment: Environment) -> StageNeeds:
    """Return what a task depends on that this process has loaded: own modules, files, packages.

    Args:
        root: The project's folder.
        environment: The task, made and stepped while the project's files were recorded.
    """
    own = own_code(root, _task_modules(root, environment))
    files, packages, outside = set(own.files), set(own.packages), set[Path]()
    product = source_code(root, _task_entries(root, environment), _counts)
    files |= {path for path in product.files if covers(PRODUCT, path)}
    packages |= product.packages & {*NUMERIC}
    by_python, by_mujoco = opened_files(root)
    for path in [*by_python, *by_mujoco]:
        if any(part.endswith(_METADATA) for part in path.parts):
            continue
        package = installed_package(path)
        if package is not None:
            packages |= {package} if path in by_mujoco else set()
        elif (read := _project_file(root, path)) is not None:
            files.add(read)
        elif not path.is_relative_to(root) and (path in by_mujoco or not _is_of_the_system(path)):
            outside.add(path)
    files |= {str(path) for path in outside - _link_targets(root, outside)}
    packages -= {*PRODUCT, *sys.stdlib_module_names}
    return StageNeeds(_with_sources(files), distributions_of(packages))


def member_needs(root: Path, members: Iterable[str]) -> StageNeeds:
    """Return what members of tables depend on that are not the product's: own files, and packages.

    Args:
        root: The project's folder.
        members: Modules that params or a policy file chose; loaded.
    """
    own = own_code(root, foreign_modules(root, members))
    product = source_code(root, sorted(own.entries), _counts)
    files = own.files | {path for path in product.files if covers(PRODUCT, path)}
    packages = (own.packages | product.packages & {*NUMERIC}) - {*PRODUCT, *sys.stdlib_module_names}
    return StageNeeds(_with_sources(files), distributions_of(packages))


def _with_sources(files: Set[str]) -> frozenset[str]:
    """Return files and what some of them compile."""
    return frozenset({*files, *(folder for file, folder in _SOURCES.items() if file in files)})


@contextlib.contextmanager
def probed_task(
    root: Path, task: TaskSection, render_size: tuple[int, int] | None = None
) -> Iterator[Environment]:
    """Make, reset, step and render a task, so that it loads what it needs, and give it to the caller.

    Args:
        root: The project's folder.
        task: The task.
        render_size: Height and width of images in pixels, if any are made.

    Raises:
        ConfigError: see `TaskSection.make`.
        ContractError: the task breaks its contract in its first step.
    """
    with files_recorded(root):
        environment = _make(task, render_size)
        if record_new_models():  # the task imported MuJoCo: its model was compiled unseen
            environment.close()
            environment = _make(task, render_size)
        try:
            environment.reset(0)
            environment.step(np.zeros(environment.spec.action_dim, dtype=np.float32))
            if render_size is not None:
                with contextlib.suppress(RendererError):
                    environment.render()
            yield environment
        finally:
            environment.close()


def _make(task: TaskSection, render_size: tuple[int, int] | None) -> Environment:
    try:
        return task.make(render_size)
    except RendererError:
        return task.make()


def refuse_uncovered(root: Path, stage: str, needed: StageNeeds) -> None:
    """Refuse a stage whose outputs depend on what dvc.yaml does not name.

    Raises:
        ConfigError: something is not named; has the lines to add.
    """
    lines = missing_lines(listed_needs(root, stage), needed)
    if lines:
        raise ConfigError(
            f"stage '{stage}' depends on what dvc.yaml does not name, so that a change of it would not be "
            "seen. `sacpipe lock` adds the lines for what the task reads when it is made and in its first "
            "step. What it reads later has to be named by hand, above `# sacpipe lock: begin`. The lines:\n"
            + "\n".join(f"  {line}" for line in lines)
        )


def loaded_needs(
    root: Path, stage: str, members: Iterable[str], environment: Environment | None = None
) -> StageNeeds:
    """Return the product's files that this process has loaded and that count for a stage.

    A file that only files outside the identity import does not count.
    """
    entries = [f"pipelines.stages.{stage}", *members]
    if environment is not None:
        entries += _task_entries(root, environment)
    everything = source_code(root, entries).files
    counted = source_code(root, entries, _counts).files
    loaded = {path for path in _module_files(root) if covers(PRODUCT, path) and _counts(path)}
    loaded = {path for path in loaded if has_code(root / path, ".".join(Path(path).parts[:-1]))}
    return StageNeeds(frozenset(loaded - (everything - counted)), frozenset())


def _counts(path: str) -> bool:
    return not covers(OUTSIDE_IDENTITY, path)


def _task_entries(root: Path, environment: Environment) -> list[str]:
    """Return the modules from which a task's imports of the product are followed.

    These are the task's own, and the product's that they import from outside of the project.
    """
    defining = {name for name in getattr(environment, "modules", ()) if name.partition(".")[0] in PRODUCT}
    return sorted({*own_code(root, _task_modules(root, environment)).entries, *defining})


def _task_modules(root: Path, environment: Environment) -> dict[str, Path]:
    """Return the files of modules that define the task, and of all loaded modules of the project.

    So are the modules of folders outside of it, as of editable installations. The product's own are left
    out, wherever they are.
    """
    names = {*getattr(environment, "modules", ()), *_module_files(root).values(), *_modules_outside(root)}
    return foreign_modules(root, names)


_SCRIPT = ("__main__", "__mp_main__")
"""Names of the script of a command, or of a stage's file, which counts always."""


def _module_files(root: Path) -> dict[str, str]:
    """Return the loaded modules in the project's folder, by path relative to it."""
    found, folder = {}, f"{root}/"
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in _SCRIPT or not isinstance(file, str) or not file.startswith(folder):
            continue
        path = Path(file)
        if path.is_relative_to(root) and not installed_package(path):
            found[path.relative_to(root).as_posix()] = name
    return found


def _modules_outside(root: Path) -> set[str]:
    """Return the modules that the task loaded from folders that are no installation and not the project."""
    found = set()
    for name in imported_modules(root):
        file = getattr(sys.modules.get(name), "__file__", None)
        if not isinstance(file, str) or not Path(file).is_absolute():
            continue  # a module that a package made without a file, as torch.ops
        path = Path(file)
        if not path.is_relative_to(root) and not installed_package(path) and not _is_of_the_system(path):
            found.add(name)
    return found


def _link_targets(root: Path, paths: set[Path]) -> set[Path]:
    """Return those of some paths to which links of stages' inputs lead: DVC's cache may be outside."""
    if not paths:
        return set()
    return {
        target
        for folder in (root / "out", root / "data" / "pool")
        for file in folder.rglob("*")
        if file.is_symlink() and (target := file.readlink()) in paths
    }


def _project_file(root: Path, path: Path) -> str | None:
    """Return the path of a file that a task read in the project; None for stages' and packages' files."""
    if not path.is_relative_to(root) or path.is_relative_to(sys.prefix):
        return None
    name = path.relative_to(root).as_posix()
    is_code = covers(["sacpipe"], name) or (covers(PRODUCT, name) and path.suffix == ".py")
    return None if covers(_OWN_FILES, name) or is_code or path.suffix == ".pyc" else name


def _is_of_the_system(path: Path) -> bool:
    """Return whether a file belongs to the system, to Python, to sacpipe, to a cache or is temporary."""
    python = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"))
    folders = (*_SYSTEM, *python, tempfile.gettempdir(), str(_PACKAGE))
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if Path(cache).is_absolute() and path.is_relative_to(Path(cache) / "sacpipe" / "kernels"):
        return True  # compiled from what dvc.yaml names
    if path.suffix == ".pyc" or any(path.is_relative_to(folder) for folder in folders):
        return True
    try:
        home = Path.home()
    except RuntimeError:
        return False  # a container's user has no home
    return path.is_relative_to(home) and path.relative_to(home).parts[0].startswith(".")
