"""What a section of the page is: a title, a template, and the values that the template shows."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Section(NamedTuple):
    """One section, which `build(outputs)` of its module returns; None in its place leaves it out.

    Every value is escaped, except for drawings of sacpipe.report.charts. docs/report.md has the macros.
    """

    title: str
    template: str
    """Name of a file in sacpipe/report/templates, or the text of a Jinja2 template."""
    values: Mapping[str, Any]
