"""Table of universes: one file each. A new one is an import and a member of `SUITES` and `TaskConfig`."""

from typing import Annotated, get_args

from pydantic import Field

from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.envs.base import nearest
from sacpipe.envs.dm_control import DmControlTask
from sacpipe.envs.gymnasium import GymnasiumTask
from sacpipe.envs.point_mass import PointMassTask

SUITES = (GymnasiumTask, DmControlTask, PointMassTask)

AnyTask = GymnasiumTask | DmControlTask | PointMassTask

TaskConfig = Annotated[AnyTask, Field(discriminator="universe")]
"""The `task` section of params.yaml."""


def suite_name(kind: type[AnyTask]) -> str:
    """Return the name of a task suite: the one value that its `universe` key takes."""
    name: str = get_args(kind.model_fields["universe"].annotation)[0]
    return name


def find_task(name: str) -> AnyTask:
    """Return the section for `universe/id`, or for a bare id that only one universe has; options are empty.

    Raises:
        UnknownTaskError: no universe has it; carries the nearest names.
        ConfigError: several universes have it, or it cannot be trained here (with the reason).
    """
    prefix, _, task_id = name.partition("/")
    for kind in SUITES:
        if suite_name(kind) == prefix:
            found = kind.parse({"universe": prefix, "id": task_id, "options": {}})
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
    """List every task that can be trained here as `universe/id`, in the order of the table."""
    return tuple(f"{suite_name(kind)}/{task_id}" for kind in SUITES for task_id in kind.tasks())
