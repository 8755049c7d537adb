"""HTML and SVG as values. Every text and every attribute is escaped here, and in no other module.

A plain `str` is text and is escaped; `Markup` is finished HTML and is not. So a browser shows a task named
`<script>` as text, and every `<svg>` is well-formed XML too.
"""

import html
import re
from collections.abc import Iterable

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"meta", "br", "hr", "col"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]
Attribute = str | int | float | bool | None


def text(value: object) -> Markup:
    """Return any value as escaped text; characters that XML does not allow become U+FFFD."""
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """Return one element.

    Args:
        name: Element name.
        children: Text, numbers, `Markup`, or any nesting of iterables of them; None is left out.
        attributes: `class_` becomes `class`, `stroke_width` becomes `stroke-width`. None and False
            leave the attribute out, True gives it an empty value, a float is cut to two decimals.
    """
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{''.join(_flat(children))}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Return children one after the other, escaped where they are text."""
    return Markup("".join(_flat(children)))


def coordinate(value: float) -> str:
    """Return a length in user units with at most two decimals, without trailing zeros."""
    shortened = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shortened in {"", "-0"} else shortened


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f' {name}=""'
    shown = coordinate(value) if isinstance(value, float) else str(value)
    return f' {name}="{text(shown)}"'


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            yield child if isinstance(child, Markup) else text(child)
        elif isinstance(child, int | float):
            yield text(child)
        else:
            yield from _flat(child)
