"""The sections of the page, in its order; each has one file here, and a template."""

from importlib.metadata import entry_points
from pathlib import Path

from sacpipe.core.config import read_yaml

GROUP = "sacpipe.report_sections"
"""Entry points of sections of other packages."""
SECTIONS = (
    *("verdict", "learning", "evaluation", "paths", "video"),
    *("signals", "throughput", "export", "lineage", "params"),
)
"""Those of the product; the first is the head of the page."""


def own_sections(settings: Path) -> list[tuple[str, str]]:
    """Return name and import path of each section of an installed package, then of the project.

    Args:
        settings: The project's sacpipe.yaml, which may be missing. Its `report` lists `module:function`.

    Raises:
        ConfigError: the file is not YAML.
    """
    installed = sorted((entry.name, entry.value) for entry in entry_points(group=GROUP))
    named = read_yaml(settings).get("report") or [] if settings.is_file() else []
    return installed + [(str(path), str(path)) for path in (named if isinstance(named, list) else [named])]
