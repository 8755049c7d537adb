"""The description of a metric."""

from typing import NamedTuple


class Metric(NamedTuple):
    """Unit and meaning of one metric."""

    unit: str
    meaning: str
