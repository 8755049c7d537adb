"""Metrics of a task: entries of a step's `info` that `task.metrics` names, e.g. reward terms and success."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from sacpipe.core.errors import ConfigError
from sacpipe.envs.step_values import UnexpectedValueError, follow, read_number
from sacpipe.specs.records import NO_METRICS
from sacpipe.specs.terms import TermName

ReadMetrics = Callable[[Any], Mapping[str, float]]
"""Maps a step's `info` to its metrics; raises UnexpectedValueError where an entry is no finite number."""

NO_INFO: Mapping[str, Any] = {}
"""`info` of a suite whose tasks give none."""

_MAX_METRICS = 100
SUCCESSES = ("success", "is_success")
"""Entries of `info` that say whether the state is what the task asks for."""
_SUGGESTED = (*SUCCESSES, "goal_distance", "completed_tasks")
_REWARD_TERM = "reward_"


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"expected each name once; '{twice}' is there twice")
    return names


MetricNames = Annotated[tuple[TermName, ...], Field(max_length=_MAX_METRICS), AfterValidator(_unique)]
"""Names of entries of `info`; the keys of a nested entry are joined by slashes (`reward_info/ctrl`)."""


def metrics_reader(names: Sequence[str]) -> ReadMetrics:
    """Return a function that reads the named entries of a step's `info`."""
    if not names:
        return lambda _: NO_METRICS
    paths = [(name, name.split("/")) for name in names]

    def read(info: Any) -> Mapping[str, float]:
        return {name: _read_entry(info, name, path) for name, path in paths}

    return read


def _read_entry(info: Any, name: str, path: Sequence[str]) -> float:
    value = info[name] if isinstance(info, Mapping) and name in info else follow("an `info`", info, path)
    if type(value) is float and math.isfinite(value):
        return value
    return read_number(f"at the entry '{name}' of `info`", f"entry '{name}' of `info`", value)


def read_first_metrics(read: ReadMetrics, info: Any) -> None:
    """Read the metrics of a task's trial step.

    Raises:
        ConfigError: `task.metrics` names what the task's `info` does not have, or what is no finite number.
    """
    try:
        read(info)
    except UnexpectedValueError as exc:
        raise ConfigError(f"task.metrics: {exc}. Every step has to have every named entry.") from exc


def refuse_metrics(suite: str, names: Sequence[str]) -> None:
    """Refuse metrics in a suite whose tasks have no `info`.

    Raises:
        ConfigError: `task.metrics` is not empty.
    """
    if names:
        raise ConfigError(
            f"task.metrics: tasks of the suite '{suite}' have no `info`; expected an empty list, found "
            f"{', '.join(names)}."
        )


def suggested_names(info: Any) -> tuple[str, ...]:
    """Return the entries of an `info` that are one finite number each: reward terms, success, distance."""
    names = []
    for name, value in info.items() if isinstance(info, Mapping) else ():
        if isinstance(name, str) and (name.startswith(_REWARD_TERM) or name in _SUGGESTED):
            with contextlib.suppress(UnexpectedValueError):
                read_number("", "", value)
                names.append(name)
    return tuple(names)
