"""What a section of the page is, and which there are: the product's, and those of packages and projects."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from sacpipe.core.config import read_yaml

SECTIONS = (
    *("verdict", "release", "learning", "evaluation", "paths", "video"),
    *("signals", "throughput", "export", "lineage", "params"),
)
"""Modules of sacpipe/report/sections, in the order of the page; the first is its head."""
GROUP = "sacpipe.report_sections"
"""Entry points of sections of other packages."""


class Section(NamedTuple):
    """One section, which `build(outputs)` of its module returns; None in its place leaves it out.

    Every value is escaped, except for drawings of sacpipe.report.charts. docs/report.md has the macros.
    """

    title: str
    template: str
    """Name of a file in sacpipe/report/templates, or the text of a Jinja2 template."""
    values: Mapping[str, Any]


def own_sections(settings: Path) -> list[tuple[str, str]]:
    """Return name and import path of each section of an installed package, then of the project.

    Args:
        settings: The project's sacpipe.yaml, which may be missing. Its `report` lists `module:function`.

    Raises:
        ConfigError: the file is not YAML.
    """
    installed = sorted((entry.name, entry.value) for entry in entry_points(group=GROUP))
    listed = read_yaml(settings).get("report") or [] if settings.is_file() else []
    return installed + [(str(path), str(path)) for path in (listed if isinstance(listed, list) else [listed])]
