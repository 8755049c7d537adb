"""The figure of MultiGoal: sampled paths in the plane, and contours of the critics with sampled actions."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from sacpipe.envs.softlearning.multi_goal import GOAL_RADIUS_M, GOALS_M, HALF_WIDTH_M
from sacpipe.report.charts import COLOURS, Size, axes_at, dots, drawing, svg
from sacpipe.report.numbers import interval
from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.report.plane_data import ActionValues, Plane

_TASK = "softlearning/MultiGoal-Default-v0"
_NUM_LEVELS = 12
_PANELS = {
    True: ((8, 26, 512, 512), *((x, y, 238, 238) for y in (26, 300) for x in (548, 800))),
    False: ((4, 26, 352, 352), *((x, y, 168, 168) for y in (410, 600) for x in (4, 188))),
}
"""Left, top, width and height of the panels in pixels, paths first; by whether the window is wide."""


def build(outputs: Outputs) -> Section | None:
    """Return the section of the figure; None for another task than MultiGoal."""
    if outputs.task != _TASK:
        return None
    from sacpipe.report.plane_data import read_plane  # needs PyTorch, which other tasks do not

    workspace = outputs.workspace
    return section(read_plane(workspace.params, workspace.policy, outputs.work_folder))


def section(plane: "Plane") -> Section:
    """Return the section that shows a figure."""
    sizes = Size(1080, 546), Size(360, 382 if plane.states is None else 776)
    chart = drawing(_label(plane), sizes, partial(_draw, plane))
    values = {"shares": goal_shares(plane), "has_states": plane.states is not None, "chart": chart}
    return Section("Paths", "paths.html", values)


def goal_shares(plane: "Plane") -> str:
    """Return how many episodes reached each goal, as a sentence."""
    reached = [0] * len(GOALS_M)
    for path in plane.paths:
        distances = [math.dist(path[-1], goal) for goal in GOALS_M]
        if min(distances) < GOAL_RADIUS_M:
            reached[distances.index(min(distances))] += 1
    shown = ", ".join(f"({x:g}, {y:g}): {count}" for (x, y), count in zip(GOALS_M, reached, strict=True))
    return f"Of {len(plane.paths)} episodes, {sum(reached)} reached a goal ({shown})."


def standalone(plane: "Plane") -> str:
    """Return the figure as an SVG file, with colours of its own."""
    text = svg(_label(plane), Size(1080, 546), partial(_draw, plane))
    return text.replace(">", '><rect width="100%" height="100%" fill="#fff"/>', 1) + "\n"


def _label(plane: "Plane") -> str:
    return f"Sampled paths, and values of actions in the plane. {goal_shares(plane)}"


def _draw(plane: "Plane", figure: Figure, size: Size) -> None:
    first, *others = _PANELS[size.is_wide]
    _draw_paths(axes_at(figure, size, first), plane.paths)
    for box, state in zip(others, plane.states or (), strict=plane.states is not None):
        _draw_state(axes_at(figure, size, box), state, has_room=size.is_wide)


def _draw_paths(axes: Axes, paths: Sequence[FloatArray]) -> None:
    _frame(axes, f"positions, from -{HALF_WIDTH_M:g} to {HALF_WIDTH_M:g} m", HALF_WIDTH_M)
    for goal in GOALS_M:
        axes.add_patch(Circle(goal, GOAL_RADIUS_M, color=COLOURS["bundle"], alpha=0.22, lw=0))
    for path in paths:
        axes.plot(*path.T, color=COLOURS["stochastic"], lw=1.2, alpha=0.55)
    dots(axes, [path[-1] for path in paths], "stochastic", 2.4, 1.0)


def _draw_state(axes: Axes, state: "ActionValues", *, has_room: bool) -> None:
    """Draw contours of the critics' lowest value of an action, and actions of the policy."""
    low, high = float(state.values.min()), float(state.values.max())
    x, y = state.position
    _frame(axes, f"{'Q at ' * has_room}({x:g}, {y:g}): {interval(low, high)}", 1.0)
    grid = np.linspace(-1.0, 1.0, len(state.values))
    levels = low + (high - low) * (np.arange(_NUM_LEVELS) + 0.5) / _NUM_LEVELS
    colours = [to_rgba(COLOURS["signal"], alpha) for alpha in np.linspace(0.25, 0.95, _NUM_LEVELS)]
    if high > low:
        axes.contour(grid, grid, state.values, levels=levels, colors=colours, linewidths=1.1)
    dots(axes, state.actions, "stochastic", 2.0, 0.6)


def _frame(axes: Axes, title: str, half_width: float) -> None:
    """Make a square panel with a title and no ticks."""
    axes.set(xlim=(-half_width, half_width), ylim=(-half_width, half_width), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, alpha=0.6)
    axes.annotate(title, (0, 1), (0, 9), "axes fraction", textcoords="offset points")
