"""Write what the stages of a project depend on: lines of dvc.yaml, and versions.lock."""

from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.core.config import read_yaml
from sacpipe.envs.base import Environment
from sacpipe.envs.task_environment import recorded_rewards
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.project.identity.dependency_lines import StageNeeds, write_dependency_lines
from sacpipe.project.identity.members import members_of, policy_members
from sacpipe.project.identity.needs import member_needs, probed_task, product_needs, task_needs
from sacpipe.project.identity.opened_files import files_recorded
from sacpipe.project.identity.versions import write_versions
from sacpipe.project.workspace import Workspace
from sacpipe.training.config import TrainParams
from sacpipe.training.samplers import build_sampler

_STAGE_MODULE = "pipelines.stages."
_POLICY, _BUNDLE = "out/train/policy.safetensors", "out/export/bundle"
"""Dependencies whose readers load the policy's members, and the guards of its contract."""


class _LockParams(TrainParams):
    """The sections of params.yaml on which dependencies depend."""

    runtime: RuntimeSettings
    evaluation: EvaluationConfig


def project_needs(workspace: Workspace) -> dict[str, StageNeeds]:
    """Return what each stage depends on, by trying the task once.

    A stage runs the task where its `params` in dvc.yaml name `task`, and the members that sections choose
    (an algorithm, a sampler, guards) where they name the section.

    Raises:
        ConfigError: params.yaml or the task is wrong.
    """
    root = workspace.root
    with files_recorded(root):  # an own algorithm or sampler may read files when it is imported
        params = _LockParams.load_sections(workspace.params)
    video = params.evaluation.video
    with probed_task(
        root, params.task, None if video is None else (video.height, video.width)
    ) as environment:
        policy, update = _tried_learner(params, environment)
        task = task_needs(root, environment)
    found = {}
    for stage, entry in (read_yaml(workspace.dvc_yaml).get("stages") or {}).items():
        if f"{_STAGE_MODULE}{stage}" not in str(entry.get("cmd")).split():
            continue  # a stage of the project's own, by another command
        names = [name for name in entry.get("params") or () if isinstance(name, str)]
        members = members_of(*(getattr(params, name, None) for name in names))
        if _POLICY in (entry.get("deps") or ()):
            members += policy
        if {"engine", "algorithm"} <= {*names}:
            members += (update,)
        if _BUNDLE in (entry.get("deps") or ()):
            members += members_of(params.runtime)
        needed = product_needs(root, stage, members) | member_needs(root, members)
        found[stage] = needed | task if "task" in names else needed
    return found


def _tried_learner(params: _LockParams, environment: Environment) -> tuple[tuple[str, ...], str]:
    """Build learner, engine and sampler, so that they load what they need.

    Returns the policy's members, and the module of the learner that the engine chose for the algorithm.

    Raises:
        ConfigError: one of them cannot be built for the task.
    """
    spec = environment.spec
    learner = params.algorithm.build(spec, params.seed)
    learner = params.engine.attach(learner)
    build_sampler(params.replay.sampler, spec, learner, lambda: recorded_rewards(environment))
    header = learner.policy().header
    return policy_members(header.kind, header.network), type(learner).__module__


def lock_project(workspace: Workspace, *, keeps_versions: bool = False) -> list[str]:
    """Write what stages depend on to dvc.yaml and versions.lock; return a line for each change.

    Args:
        workspace: The project.
        keeps_versions: Keep what versions.lock has, and only add the packages that are new in it.

    Raises:
        ConfigError: params.yaml, the task or dvc.yaml is wrong.
        StorageError: a file cannot be written.
    """
    needs = project_needs(workspace)
    packages = {name for needed in needs.values() for name in needed.packages}
    versions = write_versions(workspace.root, packages, keeps_known=keeps_versions)
    stages = write_dependency_lines(workspace.root, needs)
    return [f"versions.lock: {line}" for line in versions] + [
        f"dvc.yaml: dependencies of stage '{stage}' written" for stage in stages
    ]
