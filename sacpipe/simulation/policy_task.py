"""The task of a policy: from params.yaml of the project, or as the user names it.

A bundle and a policy file name their task without the module that registers it, and no module is ever
imported because a file from elsewhere names it.
"""

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.envs import TaskConfig, find_task
from sacpipe.envs.base import Environment, Options, TaskSection
from sacpipe.project.workspace import Workspace
from sacpipe.specs.env_spec import EnvSpec


class _TaskParams(Config):
    """The section of params.yaml that names a project's task."""

    task: TaskConfig


def task_of(spec: EnvSpec, name: str | None, changed: Options | None = None) -> TaskSection:
    """Return the task of a policy.

    Args:
        spec: The policy's task.
        name: `SUITE/[MODULE:]ID` from the command line; None for the task of params.yaml, with its options.
        changed: Task options that differ here, as on a robot that differs from the simulated one.

    Raises:
        ConfigError: no project is here, its params.yaml has another task, or the task has other observations,
            actions or limits than the policy's.
    """
    task = _own_task(spec) if name is None else find_task(name)
    task = task.replace(options=task.options | (changed or {}))
    environment = task.make()
    environment.close()
    check_task(environment, spec, task.options)
    return task


def check_task(environment: Environment, spec: EnvSpec, options: Options) -> None:
    """Check that an environment is the task of a policy.

    Raises:
        ConfigError: it has another name, or other observations, actions or limits.
    """
    found = environment.spec
    if found.task != spec.task:
        raise ConfigError(f"{_wanted(spec)}, found '{found.task}'. {_advice(spec)}")
    if found.policy_spec != spec:
        raise ConfigError(
            f"task '{spec.task}' with options {options}: expected the observations, actions and time limit "
            "of the policy's training, found others. Run this in the project that trained the policy, whose "
            "params.yaml has the options."
        )


def _own_task(spec: EnvSpec) -> TaskSection:
    try:
        params = Workspace.find().params
    except ConfigError as exc:
        raise ConfigError(f"{_wanted(spec)}, found no project here. {_advice(spec)}") from exc
    task = _TaskParams.load_sections(params).task
    if task.name != spec.task:
        raise ConfigError(f"{_wanted(spec)} in {params}, found '{task.name}'. {_advice(spec)}")
    return task


def _wanted(spec: EnvSpec) -> str:
    return f"expected the task of the policy, '{spec.task}'"


def _advice(spec: EnvSpec) -> str:
    suite, _, task_id = spec.task.partition("/")
    task_id = task_id.rpartition(":")[2]
    return (
        f"Name it: `--task {suite}/{task_id}`, or `--task {suite}/MODULE:{task_id}` for a task of your own."
    )
