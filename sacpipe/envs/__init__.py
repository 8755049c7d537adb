"""The table of task suites, one file each. A new suite is a line in `SUITES`, or an entry point of a package.

A suite's file is imported when params or a command name the suite, so that a run loads, and depends on, its
own suite only.
"""

from typing import TYPE_CHECKING, TypeAlias

from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.core.members import Members, member_field
from sacpipe.envs.base import TaskSection, nearest

SUITES = Members(
    "task suite",
    "sacpipe.envs",
    {
        "gymnasium": "sacpipe.envs.gymnasium:GymnasiumTask",
        "dm_control": "sacpipe.envs.dm_control:DmControlTask",
        "gymnasium_robotics": "sacpipe.envs.gymnasium_robotics:RoboticsTask",
        "point_mass": "sacpipe.envs.point_mass:PointMassTask",
        "softlearning": "sacpipe.envs.softlearning.suite:SoftlearningTask",
        "robosuite": "sacpipe.envs.robosuite:RobosuiteTask",
    },
)
"""Task suites; a member derives from `TaskSection`."""

if TYPE_CHECKING:
    TaskConfig: TypeAlias = TaskSection
else:
    TaskConfig = member_field(SUITES, "suite")
"""The `task` section of params.yaml, of any suite."""


def find_task(name: str) -> TaskSection:
    """Return the section of a task, with empty options and no metrics, after building the task once.

    Args:
        name: Task suite and id, e.g. `gymnasium/Ant-v5` or `gymnasium/my_package:Arm-v0`, or an id that only
            one suite has. It comes from params.yaml or from a command line, because it may choose a module.

    Raises:
        UnknownTaskError: no suite has the task; carries the nearest names.
        ConfigError: several suites have the task, or it cannot be trained here (with the reason).
    """
    if (found := parse_task(name)) is not None:
        try:
            found.make().close()
        except UnknownTaskError as exc:
            others = [full for full in list_tasks() if full.partition("/")[2] == found.id]
            raise UnknownTaskError(name, others) if others else exc from exc
        return found
    full_names = list_tasks()
    matches = [full for full in full_names if full.partition("/")[2] == name]
    if len(matches) == 1:
        return find_task(matches[0])
    if matches:
        raise ConfigError(f"task '{name}' is ambiguous: expected one of {', '.join(matches)}.")
    bare = {full.partition("/")[2]: full for full in full_names}
    close = [bare[near] for near in nearest(name, list(bare))] or nearest(name, full_names)
    raise UnknownTaskError(name, close, may_be_own=":" in name)


def parse_task(name: str) -> TaskSection | None:
    """Return the section of `SUITE/ID` without building the task; None where the name has no task suite.

    Raises:
        ConfigError: the suite cannot be imported, or is no task suite.
    """
    suite, _, task_id = name.partition("/")
    if not task_id or (suite not in SUITES and ":" not in suite):
        return None
    section: TaskSection = SUITES.find_or_import(suite).parse(
        {"suite": suite, "id": task_id, "options": {}, "metrics": []}, where="task"
    )
    return section


def list_tasks() -> tuple[str, ...]:
    """List suite and id of every task that can be trained here, in the order of the table."""
    return tuple(f"{name}/{task_id}" for name in SUITES.names() for task_id in SUITES.find(name).tasks())


def suggested_metrics(task: TaskSection) -> tuple[str, ...]:
    """Return the reward terms and successes in a task's `info`, for `task.metrics` of a new params.yaml.

    Raises:
        ConfigError: see `TaskSection.make`.
        SimulatorError: the task raised an error.
    """
    environment = task.make()
    try:
        return environment.suggested_metrics()
    finally:
        environment.close()
