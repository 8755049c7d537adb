"""The table of task suites, one file each. A new suite is a line in `SUITES`.

A suite's file is imported when params or a command name the suite, so that a run loads, and depends on, its
own suite only.
"""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import PlainSerializer, PlainValidator

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.envs.base import Options, nearest

if TYPE_CHECKING:
    from sacpipe.envs.dm_control import DmControlTask
    from sacpipe.envs.gymnasium import GymnasiumTask
    from sacpipe.envs.point_mass import PointMassTask

    AnyTask: TypeAlias = GymnasiumTask | DmControlTask | PointMassTask

SUITES: Mapping[str, str] = {
    "gymnasium": "sacpipe.envs.gymnasium:GymnasiumTask",
    "dm_control": "sacpipe.envs.dm_control:DmControlTask",
    "point_mass": "sacpipe.envs.point_mass:PointMassTask",
}
"""Module and class of each task suite, by the value of `suite`."""


def suite(name: str) -> "type[AnyTask]":
    """Import a task suite of the table and return its class."""
    module, _, kind = SUITES[name].partition(":")
    found: type[AnyTask] = getattr(import_module(module), kind)
    return found


class _TaskKeys(Config):
    """Keys that the `task` section of every suite has."""

    suite: str
    id: str
    options: Options


def _parse(value: Any) -> Any:
    """Validate a `task` section by the suite that it names."""
    if isinstance(value, Config):
        return value
    name = value.get("suite") if isinstance(value, Mapping) else None
    if not isinstance(name, str) or name not in SUITES:
        raise ValueError(f"expected `suite` to be one of {', '.join(map(repr, SUITES))}")
    return suite(name).model_validate_json(json.dumps(value))


if TYPE_CHECKING:
    TaskConfig: TypeAlias = GymnasiumTask | DmControlTask | PointMassTask
else:
    TaskConfig = Annotated[_TaskKeys, PlainValidator(_parse), PlainSerializer(Config.as_tree)]
"""The `task` section of params.yaml, of any suite."""


def find_task(name: str) -> "AnyTask":
    """Return the section of a task, with empty options.

    Args:
        name: Task suite and id, e.g. `gymnasium/Ant-v5`, or an id that only one suite has.

    Raises:
        UnknownTaskError: no suite has the task; carries the nearest names.
        ConfigError: several suites have the task, or it cannot be trained here (with the reason).
    """
    prefix, _, task_id = name.partition("/")
    if prefix in SUITES:
        found = suite(prefix).parse({"suite": prefix, "id": task_id, "options": {}})
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
    return tuple(f"{name}/{task_id}" for name in SUITES for task_id in suite(name).tasks())
