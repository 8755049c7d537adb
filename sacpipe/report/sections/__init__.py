"""The sections of the page, in its order; each has one file here, and a template."""

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points

GROUP = "sacpipe.report_sections"
"""Entry points of sections of other packages."""

SECTIONS = (
    "verdict",
    "learning",
    "evaluation",
    "paths",
    "video",
    "signals",
    "throughput",
    "export",
    "lineage",
    "params",
)
"""Those of the product; the first is the head of the page."""


def own_sections(paths: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield name and `module:function` of sections of installed packages, then of import paths."""
    yield from sorted((entry.name, entry.value) for entry in entry_points(group=GROUP))
    yield from ((path.rpartition(":")[0].rpartition(".")[2], path) for path in paths)
