"""The graph of the lineage: files and stages along the flow of data, drawn once across and once down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sacpipe.report.markup import Markup, coordinate, join, tag

_HEAD = 7.0


@dataclass(frozen=True)
class Node:
    """A box: a file or folder with its digest, or a stage."""

    name: str
    title: str
    note: str
    kind: str
    """`file`, `stage`, `accepted`, `refused` or `open`; the style sheet's class."""
    column: int
    """Place along the flow of data."""
    lane: int
    """Place across it, 0 to 2."""


class Layout(NamedTuple):
    """Lengths along (u) and across (v) the flow; `is_upright` turns the flow from rightwards to downwards."""

    box_u: float
    box_v: float
    gap_u: float
    gap_v: float
    is_upright: bool


LAYOUTS = (Layout(122, 58, 31, 18, is_upright=False), Layout(58, 112, 28, 12, is_upright=True))


def figure(label: str, nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Markup:
    """Return the graph in both directions; the style sheet shows one of them."""
    return join(
        tag("div", draw(label, nodes, edges, layout), class_=f"plot {window}")
        for window, layout in zip(("wide", "narrow"), LAYOUTS, strict=True)
    )


def draw(label: str, nodes: Sequence[Node], edges: Sequence[tuple[str, str]], layout: Layout) -> Markup:
    """Return the graph as an SVG element, sized for its boxes."""
    by_name = {node.name: node for node in nodes}
    columns, lanes = 1 + max(node.column for node in nodes), 3
    length = columns * (layout.box_u + layout.gap_u) - layout.gap_u + 2
    breadth = lanes * (layout.box_v + layout.gap_v) - layout.gap_v + 2
    width, height = (breadth, length) if layout.is_upright else (length, breadth)
    return tag(
        "svg",
        [_edge(by_name[start], by_name[end], layout) for start, end in edges],
        [_box(node, layout) for node in nodes],
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="img",
        aria_label=label,
        class_="graph",
        xmlns="http://www.w3.org/2000/svg",
    )


def _corner(node: Node, layout: Layout) -> tuple[float, float]:
    return 1 + node.column * (layout.box_u + layout.gap_u), 1 + node.lane * (layout.box_v + layout.gap_v)


def _box(node: Node, layout: Layout) -> Markup:
    u, v = _corner(node, layout)
    x, y, width, height = (
        (v, u, layout.box_v, layout.box_u) if layout.is_upright else (u, v, layout.box_u, layout.box_v)
    )
    radius = height / 2 if node.kind == "stage" else 8.0
    middle = x + width / 2
    return tag(
        "g",
        tag("rect", x=x, y=y, width=float(width), height=float(height), rx=radius),
        tag("text", node.title, x=middle, y=y + height / 2 - 4, class_="middle title"),
        tag("text", node.note, x=middle, y=y + height / 2 + 14, class_="middle note"),
        class_=f"node {node.kind}",
    )


def _edge(start: Node, end: Node, layout: Layout) -> Markup:
    """Return an arrow. One that skips a column stays in its lane and ends at the side of the box."""
    u0, v0 = _corner(start, layout)
    u1, v1 = _corner(end, layout)
    u0, v0 = u0 + layout.box_u, v0 + layout.box_v / 2
    if end.column - start.column > 1:
        u1 += layout.box_u / 2
        points = [(u0, v0), (u1 - 16, v0), (u1, v0), (u1, v1)]
        path, tip = "M{}L{}Q{} {}", [(u1 - 4, v1 - _HEAD), (u1, v1), (u1 + 4, v1 - _HEAD)]
    else:
        v1 += layout.box_v / 2
        middle = (u0 + u1) / 2
        points = [(u0, v0), (middle, v0), (middle, v1), (u1, v1)]
        path, tip = "M{}C{} {} {}", [(u1 - _HEAD, v1 - 4), (u1, v1), (u1 - _HEAD, v1 + 4)]
    line = path.format(*(_pair(point, layout) for point in points))
    head = "M" + "L".join(_pair(point, layout) for point in tip)
    return tag("path", d=line + head, class_="edge")


def _pair(point: tuple[float, float], layout: Layout) -> str:
    u, v = point
    x, y = (v, u) if layout.is_upright else (u, v)
    return f"{x:.1f},{y:.1f}"
