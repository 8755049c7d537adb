"""Images of tasks in a plane: discs and rectangles, seen from above, without a renderer."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.envs.base import no_render_size

Colour = tuple[int, int, int]

GOAL_COLOUR: Colour = (90, 170, 90)
BODY_COLOUR: Colour = (40, 80, 160)
WALL_COLOUR: Colour = (110, 110, 110)
_GROUND = 245


class Disc(NamedTuple):
    """A disc; positions and lengths in the task's unit of length."""

    x: float
    y: float
    radius: float
    colour: Colour


class Rectangle(NamedTuple):
    """A rectangle with sides along the axes."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float
    colour: Colour


def draw_plane(
    size: tuple[int, int], half_width: float, shapes: Iterable[Disc | Rectangle]
) -> NDArray[np.uint8]:
    """Return an image of the square from -half_width to half_width; x to the right, y upwards.

    Args:
        size: Height and width in pixels; the longer side shows more than the square.
        half_width: Half of the side of the square.
        shapes: Shapes in the order in which they are drawn, later ones on top.
    """
    height, width = size
    scale = 2.0 * half_width / min(size)
    rows, columns = np.ogrid[0:height, 0:width]
    x, y = (columns - (width - 1) / 2) * scale, ((height - 1) / 2 - rows) * scale
    frame = np.full((height, width, 3), _GROUND, dtype=np.uint8)
    for shape in shapes:
        if isinstance(shape, Disc):
            inside = (x - shape.x) ** 2 + (y - shape.y) ** 2 < shape.radius**2
        else:
            inside = (x >= shape.x_min) & (x <= shape.x_max) & (y >= shape.y_min) & (y <= shape.y_max)
        frame[inside] = shape.colour
    return frame


class DrawnSimulator:
    """A simulator without resources, drawn in a plane."""

    _render_size: tuple[int, int] | None

    @abstractmethod
    def _draw(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return an image of the present state, of a height and width."""

    def render(self) -> NDArray[np.uint8]:
        """Return an image. Shape (height, width, 3).

        Raises:
            RendererError: no render size was given.
        """
        if self._render_size is None:
            raise no_render_size()
        return self._draw(self._render_size)

    def close(self) -> None:
        """Do nothing."""
