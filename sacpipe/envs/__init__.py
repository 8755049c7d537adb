"""The table of task suites, one file each. A new suite is an import and a member of `SUITES`, `AnyTask`."""

from typing import Annotated, get_args

from pydantic import Field

from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.envs.base import nearest
from sacpipe.envs.dm_control import DmControlTask
from sacpipe.envs.gymnasium import GymnasiumTask
from sacpipe.envs.point_mass import PointMassTask

SUITES = (GymnasiumTask, DmControlTask, PointMassTask)

AnyTask = GymnasiumTask | DmControlTask | PointMassTask
"""The `task` section of any suite."""

TaskConfig = Annotated[AnyTask, Field(discriminator="universe")]
"""The `task` section of params.yaml."""


def suite_name(kind: type[AnyTask]) -> str:
    """Return the name of a task suite: the one value that its `universe` key takes."""
    name: str = get_args(kind.model_fields["universe"].annotation)[0]
    return name


def find_task(name: str) -> AnyTask:
    """Return the section of a task, with empty options.

    Args:
        name: Task suite and id, e.g. `gymnasium/Ant-v5`, or an id that only one suite has.

    Raises:
        UnknownTaskError: no suite has the task; carries the nearest names.
        ConfigError: several suites have the task, or it cannot be trained here (with the reason).
    """
    prefix, _, task_id = name.partition("/")
    for suite in SUITES:
        if suite_name(suite) == prefix:
            found = suite.parse({"universe": prefix, "id": task_id, "options": {}})
            found.make().close()
            return found
    full_names = list_tasks()
    matches = [full for full in full_names if full.partition("/")[2] == name]
    if len(matches) == 1:
        return find_task(matches[0])
    if matches:
        raise ConfigError(f"task '{name}' is ambiguous: expected one of {', '.join(matches)}.")
    bare = {full.partition("/")[2]: full for full in full_names}
    close = [bare[near] for near in nearest(name, list(bare))] or nearest(name, full_names)
    raise UnknownTaskError(name, close)


def list_tasks() -> tuple[str, ...]:
    """List suite and id of every task that can be trained here, in the order of the table."""
    return tuple(f"{suite_name(suite)}/{task_id}" for suite in SUITES for task_id in suite.tasks())
