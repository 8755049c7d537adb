"""The recurring elements of the page: section, table, facts, digest, fold, key."""

import re
from collections.abc import Iterable, Sequence

from sacpipe.report.markup import Child, Markup, join, tag, text

_WORD_ENDS = re.compile(r"(?<=[-._/,])(?=[^-._/, ])|(?<=[a-z0-9])(?=[A-Z])")


def section(anchor: str, title: str, lead: Child, *children: Child) -> Markup:
    """Return a titled section with one leading sentence (or None)."""
    heading = tag("h2", title, id=f"{anchor}-title")
    sentence = None if lead is None else tag("p", lead, class_="lead")
    return tag("section", heading, sentence, children, id=anchor, aria_labelledby=f"{anchor}-title")


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Child]], *, numeric_from: int = 1
) -> Markup:
    """Return a table that scrolls inside its own box.

    Args:
        caption: Name of the table, for screen readers only.
        columns: Column heads.
        rows: Cells of each row; the first cell is the row's head.
        numeric_from: First column whose cells are numbers, aligned at the right.
    """
    heads = [
        tag("th", name, scope="col", class_=_kind(index, numeric_from)) for index, name in enumerate(columns)
    ]
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=_kind(0, numeric_from)),
            [
                tag("td", cell, class_=_kind(index, numeric_from))
                for index, cell in enumerate(row[1:], start=1)
            ],
        )
        for row in rows
    ]
    inner = tag("table", tag("caption", caption), tag("thead", tag("tr", heads)), tag("tbody", body))
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Return names and values side by side."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs], class_="facts")


def digest(value: str) -> Markup:
    """Return a digest that the style sheet cuts. Hovering shows all of it, and a click selects all of it."""
    return tag("code", value, class_="digest", title=value) if value else tag("span", "none", class_="muted")


def prose(sentence: str) -> Markup:
    """Return text in which the parts between two backticks are code."""
    return join(tag("code", part) if index % 2 else part for index, part in enumerate(sentence.split("`")))


def breakable(name: str) -> Markup:
    """Return a name that may wrap after a sign and before a capital letter."""
    return Markup("<wbr/>".join(text(part) for part in _WORD_ENDS.split(name)))


def fold(summary: Child, *children: Child) -> Markup:
    """Return a `details` element: the summary is shown, a click shows the children."""
    return tag("details", tag("summary", summary), tag("div", children, class_="folded"))


def key(entries: Iterable[tuple[str, str]]) -> Markup:
    """Return a chart's key from (class of the swatch, text)."""
    return tag(
        "ul", [tag("li", tag("i", class_=f"swatch {kind}"), what) for kind, what in entries], class_="key"
    )


def _kind(index: int, numeric_from: int) -> str | None:
    return "number" if index >= numeric_from else None
