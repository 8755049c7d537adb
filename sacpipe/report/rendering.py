"""The page from its sections, by the templates. It has no script, no request, no time and no host name."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sacpipe.core.members import import_named
from sacpipe.envs.foreign_code import describe_error, error_place
from sacpipe.project.terminal import write_line
from sacpipe.report import numbers
from sacpipe.report.charts import printable
from sacpipe.report.outputs import Outputs
from sacpipe.report.points import thinned
from sacpipe.report.section import SECTIONS, Section

_FOREIGN = (Exception, SystemExit)
"""Classes of what the code of a project may raise."""
_WORD_ENDS = re.compile(r"(?<=[-._/,])(?=[^-._/, \d])|(?<=[a-z0-9])(?=[A-Z])")


class _Part(NamedTuple):
    """A section as HTML."""

    anchor: str
    title: str
    body: Markup


def render(outputs: Outputs, own: Sequence[tuple[str, str]] = (), digest: str = "") -> str:
    """Return the page as HTML. It depends on the arguments alone.

    Args:
        outputs: Of the project.
        own: Name and import path of sections that are not the product's; they come last. One that fails has
            its error on the page, because a release does not depend on it.
        digest: Of the inputs; the page has it.
    """
    environment = page_environment()
    parts = [_part(environment, outputs, name, f"sacpipe.report.sections.{name}:build") for name in SECTIONS]
    for index, (name, path) in enumerate(own):
        parts.append(_own_part(environment, outputs, name, path, f"own-{index}"))
    head, *others = (part for part in parts if part is not None)
    page = environment.get_template("page.html")
    return page.render(head=head, sections=others, task=outputs.task, digest=digest)


def page_environment() -> Environment:
    """Return the templates with their filters; every value is escaped."""
    environment = Environment(
        loader=PackageLoader("sacpipe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(numbers, name) for name in ("number", "count", "size")}
    environment.filters |= {"breakable": _breakable, "thinned": thinned}
    environment.globals["interval"] = numbers.interval
    return environment


def _part(environment: Environment, outputs: Outputs, anchor: str, path: str) -> _Part | None:
    """Build a section and fill its template; None where the project has none of its kind."""
    section = import_named("section of the report", anchor, path)(outputs)
    return None if section is None else _filled(environment, section, anchor)


def _own_part(environment: Environment, outputs: Outputs, name: str, path: str, anchor: str) -> _Part | None:
    """Do the same for a section of a project or another package; an error of it becomes the section."""
    try:
        return _part(environment, outputs, anchor, path)
    except _FOREIGN as exc:
        fault = f"{describe_error(exc)}{error_place(exc)}."
        write_line(f"report: section '{name}' ({path}): {fault}")
        return _filled(environment, Section(name, "failed.html", {"path": path, "fault": fault}), anchor)


def _filled(environment: Environment, section: Section, anchor: str) -> _Part:
    is_file = re.fullmatch(r"[\w-]+\.html", section.template)
    find = environment.get_template if is_file else environment.from_string
    return _Part(anchor, section.title, Markup(find(section.template).render(section.values)))  # noqa: S704


def _breakable(name: object) -> Markup:
    """Return a name that may wrap after a sign and before a capital letter."""
    return Markup("<wbr>").join(_WORD_ENDS.split(printable(name)))
