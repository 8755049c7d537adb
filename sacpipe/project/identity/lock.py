"""Write what the stages of a project depend on: lines of dvc.yaml, and versions.lock."""

from sacpipe.core.config import Config, read_yaml
from sacpipe.envs import TaskConfig
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.project.identity.dependency_lines import StageNeeds, write_dependency_lines
from sacpipe.project.identity.needs import members_of, probed_task, product_needs, task_needs
from sacpipe.project.identity.versions import add_versions, write_versions
from sacpipe.project.workspace import Workspace
from sacpipe.training.config import TrainParams

_STAGE_MODULE = "pipelines.stages."


class _LockParams(Config):
    """The sections of params.yaml on which dependencies depend."""

    task: TaskConfig
    evaluation: EvaluationConfig


def project_needs(workspace: Workspace) -> dict[str, StageNeeds]:
    """Return what each stage depends on, by trying the task once.

    A stage runs the task where its `params` in dvc.yaml name `task`, and the algorithm where they name it.

    Raises:
        ConfigError: params.yaml or the task is wrong.
    """
    root = workspace.root
    params = _LockParams.load_sections(workspace.params)
    algorithm = TrainParams.load_sections(workspace.params).algorithm
    video = params.evaluation.video
    with probed_task(params.task, None if video is None else (video.height, video.width)) as environment:
        task = task_needs(root, environment)
    found = {}
    for stage, entry in (read_yaml(workspace.dvc_yaml).get("stages") or {}).items():
        if f"{_STAGE_MODULE}{stage}" not in str(entry.get("cmd")).split():
            continue  # a stage of the project's own, by another command
        names = [name for name in entry.get("params") or () if isinstance(name, str)]
        chosen = [
            section for name, section in (("task", params.task), ("algorithm", algorithm)) if name in names
        ]
        needed = product_needs(root, stage, members_of(*chosen))
        found[stage] = needed | task if "task" in names else needed
    return found


def write_dependencies(workspace: Workspace) -> list[str]:
    """Bring the enclosed lines of dvc.yaml up to date, and add versions of new packages; versions stay.

    Returns:
        A line for each change.

    Raises:
        ConfigError: params.yaml, the task or dvc.yaml is wrong.
        StorageError: dvc.yaml cannot be written.
    """
    needs = project_needs(workspace)
    added = add_versions(workspace.root, {name for needed in needs.values() for name in needed.packages})
    changed = write_dependency_lines(workspace.root, needs)
    return [f"versions.lock: {line}" for line in added] + [
        f"dvc.yaml: dependencies of stage '{stage}' written" for stage in changed
    ]


def lock_project(workspace: Workspace) -> list[str]:
    """Write the dependencies and the installed versions; return a line for each change.

    Raises:
        ConfigError: params.yaml, the task or dvc.yaml is wrong.
        StorageError: a file cannot be written.
    """
    needs = project_needs(workspace)
    packages = {name for needed in needs.values() for name in needed.packages}
    versions = write_versions(workspace.root, packages)
    changed = write_dependency_lines(workspace.root, needs)
    return [f"versions.lock: {line}" for line in versions] + [
        f"dvc.yaml: dependencies of stage '{stage}' written" for stage in changed
    ]
