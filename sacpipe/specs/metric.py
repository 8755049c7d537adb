"""The description of a metric, declared once, beside the code that makes the number."""

from typing import Annotated, NamedTuple


class Metric(NamedTuple):
    """Unit, meaning and title of one metric."""

    unit: str
    meaning: str
    """A sentence, as docs/metrics.md prints it."""
    title: str = ""
    """Heading of its chart. Titled metrics are shown first, in the order of their table."""


class Unit(NamedTuple):
    """Unit of a number in a stage's metrics.json: metadata of its field, whose docstring is the meaning."""

    name: str


OWN_UNIT = Unit("own")
"""Of an entry of `task.metrics`: the task's own."""
Reward = Annotated[float, Unit("reward")]
Share = Annotated[float, Unit("share")]
Steps = Annotated[int, Unit("steps")]


def pattern_of(name: str) -> str:
    """Return the name in a table of a logged metric: its numbers are `{i}`."""
    return "/".join("{i}" if part.isdigit() else part for part in name.split("/"))
