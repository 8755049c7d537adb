"""The figure of MultiGoal: sampled paths in the plane, and contours of the critics with sampled actions."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sacpipe.envs.softlearning.multi_goal import GOAL_RADIUS_M, GOALS_M, HALF_WIDTH_M
from sacpipe.report import numbers
from sacpipe.report.data import GRID, ActionValues, Plane, Point, ReportData
from sacpipe.report.elements import key, section
from sacpipe.report.isolines import isolines
from sacpipe.report.markup import Child, Markup, coordinate, join, tag

_NUM_LEVELS = 12
_FRAME = 26.0
"""Margin of a panel for its title."""
_ROOM = 200.0
"""Side of a panel that has room for its whole title."""
_LINE_ENDS = (0.25, 0.95)
"""Opacity of the lowest and of the highest contour."""

ToDrawing = Callable[[float, float], tuple[float, float]]


class _Box(NamedTuple):
    """Place of a square panel in the drawing."""

    x: float
    y: float
    side: float

    def scale(self, half_width: float) -> ToDrawing:
        """Return the map from the square from -half_width to half_width; the second axis goes upwards."""
        unit = self.side / (2.0 * half_width)
        return lambda x, y: (self.x + (x + half_width) * unit, self.y + (half_width - y) * unit)


class _Layout(NamedTuple):
    width: float
    height: float
    paths: _Box
    states: tuple[_Box, ...]

    def of_paths(self) -> "_Layout":
        """Return the layout without the panels of states."""
        margin, box = self.paths.x, self.paths
        return self._replace(width=2.0 * margin + box.side, height=_FRAME + box.side + margin)


_WIDE = _Layout(
    1040.0,
    546.0,
    _Box(8.0, _FRAME, 512.0),
    tuple(_Box(x, y, 238.0) for y in (_FRAME, 300.0) for x in (548.0, 800.0)),
)
_NARROW = _Layout(
    360.0,
    746.0,
    _Box(4.0, _FRAME, 352.0),
    tuple(_Box(x, y, 168.0) for y in (410.0, 574.0 + _FRAME) for x in (4.0, 188.0)),
)


def plane(data: ReportData) -> Markup | None:
    """Return the section of the figure; None for another task than MultiGoal."""
    if data.plane is None:
        return None
    lead = "Stochastic episodes of the policy from starts around the centre, and the goals. " + goal_shares(
        data.plane
    )
    entries = [("line stochastic", "path of an episode")]
    note = None
    if data.plane.states is None:
        note = tag(
            "p",
            "No contours: they are of the critics of an actor and critics, in the checkpoint of the run on "
            "this machine, with the params of the run.",
            class_="note",
        )
    else:
        entries.append(("line signal", "lowest critic's value of an action, darker where higher"))
        entries.append(("dot", "action of the policy"))
    drawings = [
        tag("div", draw(data.plane, layout), class_=f"plot {window}")
        for window, layout in (("wide", _WIDE), ("narrow", _NARROW))
    ]
    return section("plane", "Paths", lead, key(entries), tag("figure", drawings, class_="plane"), note)


def goal_shares(figure: Plane) -> str:
    """Return how many episodes reached each goal, as a sentence."""
    reached = [0] * len(GOALS_M)
    for path in figure.paths:
        distances = [math.dist(path[-1], goal) for goal in GOALS_M]
        if min(distances) < GOAL_RADIUS_M:
            reached[distances.index(min(distances))] += 1
    shown = ", ".join(f"({x:g}, {y:g}): {count}" for (x, y), count in zip(GOALS_M, reached, strict=True))
    return f"Of {len(figure.paths)} episodes, {sum(reached)} reached a goal ({shown})."


def standalone(figure: Plane) -> Markup:
    """Return the figure as an SVG file, with colours of its own."""
    return join([draw(figure, _WIDE, _STYLE), "\n"])


def draw(figure: Plane, layout: _Layout = _WIDE, style: str | None = None) -> Markup:
    """Return the figure as one SVG element.

    Args:
        figure: Its contents.
        layout: Places of the panels.
        style: CSS inside the drawing; None where the page has it.
    """
    layout = layout if figure.states is not None else layout.of_paths()
    panels: list[Child] = [_paths(layout.paths, figure.paths)]
    if figure.states is not None:
        panels += [_state(box, state) for box, state in zip(layout.states, figure.states, strict=True)]
    return tag(
        "svg",
        None if style is None else tag("style", Markup(style)),
        panels,
        viewBox=f"0 0 {coordinate(layout.width)} {coordinate(layout.height)}",
        role="img",
        aria_label=f"Sampled paths, and values of actions in the plane. {goal_shares(figure)}",
        xmlns="http://www.w3.org/2000/svg",
    )


def _paths(box: _Box, paths: Iterable[tuple[Point, ...]]) -> Markup:
    place = box.scale(HALF_WIDTH_M)
    unit = box.side / (2.0 * HALF_WIDTH_M)
    goals = [_circle(place(*goal), GOAL_RADIUS_M * unit, "goal") for goal in GOALS_M]
    lines = [tag("path", d=_line(place(*point) for point in path)) for path in paths]
    ends = [_circle(place(*path[-1]), 2.4, "end") for path in paths]
    title = f"positions, from -{HALF_WIDTH_M:g} to {HALF_WIDTH_M:g} m"
    return _panel(box, title, goals, tag("g", lines, class_="path"), tag("g", ends))


def _state(box: _Box, state: ActionValues) -> Markup:
    on_grid, place = box.scale((GRID - 1) / 2.0), box.scale(1.0)
    middle = (GRID - 1) / 2.0
    low, high = min(map(min, state.values)), max(map(max, state.values))
    levels = [low + (high - low) * (index + 0.5) / _NUM_LEVELS for index in range(_NUM_LEVELS)]
    contours = []
    for index, level in enumerate(levels):
        lines = [
            _line(on_grid(x - middle, y - middle) for x, y in line) for line in isolines(state.values, level)
        ]
        opacity = _LINE_ENDS[0] + (_LINE_ENDS[1] - _LINE_ENDS[0]) * index / (_NUM_LEVELS - 1)
        contours.append(tag("path", d="".join(lines), stroke_opacity=opacity))
    x, y = state.position
    title = f"Q at ({x:g}, {y:g}): " if box.side > _ROOM else f"({x:g}, {y:g}): "
    title += numbers.interval(low, high)
    dots = [_circle(place(*action), 2.0, "action") for action in state.actions]
    return _panel(box, title, tag("g", contours, class_="contour"), tag("g", dots))


def _panel(box: _Box, title: str, *children: Child) -> Markup:
    frame = tag("rect", x=box.x, y=box.y, width=box.side, height=box.side, class_="frame")
    return tag("g", tag("text", title, x=box.x, y=box.y - 9.0, class_="unit"), frame, children)


def _line(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _circle(centre: tuple[float, float], radius: float, kind: str) -> Markup:
    return tag("circle", cx=centre[0], cy=centre[1], r=radius, class_=kind)


_STYLE = """
svg { background: #fff; } text { font: 12.5px sans-serif; fill: #59636f; }
.frame { fill: none; stroke: #59636f; opacity: .6; } .goal { fill: #00805f; opacity: .22; }
.path { fill: none; stroke: #c55a00; stroke-width: 1.2; opacity: .55; } .end { fill: #c55a00; }
.contour { fill: none; stroke: #6a4c93; stroke-width: 1.1; } .action { fill: #c55a00; opacity: .6; }
"""
