"""The images of a ring of transitions: each is stored once.

The next image of a slot is the image of the slot that follows it in its episode. Where it is not (the last
transition of an episode, the newest of an environment), the next image is stored apart.
"""

import numpy as np
from numpy.typing import NDArray

from sacpipe.specs.observation import Observation, ObservationLayout

Rows = NDArray[np.int64]
Images = dict[str, NDArray[np.uint8]]
"""Arrays of all uint8 terms by name, with the same first axis."""

_FIRST_APART = 64
"""Places for next images at first; their number doubles when all are taken."""


class ImageRing:
    """Images of the slots of a ring, and next images apart; `stride` is the ring's."""

    def __init__(self, layout: ObservationLayout, capacity: int, stride: int = 1) -> None:
        self._capacity, self._stride = capacity, stride
        self._layout = layout
        # np.empty reserves addresses only: the system allocates a page when it is first written.
        self._images = _empty(layout, capacity)
        self._apart = _empty(layout, _FIRST_APART)
        self._places = np.full(capacity, -1, dtype=np.int32)
        self._free = list(range(_FIRST_APART))

    def put(self, slot: int, observation: Observation, next_observation: Observation) -> None:
        """Store the images of the newest transition; `slot` follows the slot of the one before it.

        The one before is that of the same environment, `stride` slots back.
        """
        self._release(slot)
        _write(self._images, slot, observation.images)
        before = (slot - self._stride) % self._capacity
        place = int(self._places[before])
        if place >= 0 and all(
            np.array_equal(self._apart[name][place], image) for name, image in observation.images.items()
        ):
            self._release(before)
        self._places[slot] = place = self._take()
        _write(self._apart, place, next_observation.images)

    def gather(self, rows: Rows, out: Images) -> None:
        """Copy the images of slots. No slot may be out of range."""
        for name, image in self._images.items():
            image.take(rows, axis=0, out=out[name], mode="clip")

    def gather_next(self, rows: Rows, out: Images) -> None:
        """Copy the next images of slots. No slot may be out of range."""
        following = rows + self._stride
        following[following >= self._capacity] -= self._capacity
        self.gather(following, out)
        places = self._places[rows]
        apart = np.flatnonzero(places >= 0)
        for name, image in self._apart.items():
            out[name][apart] = image[places[apart]]

    def _take(self) -> int:
        if not self._free:
            size = len(next(iter(self._apart.values())))
            more = _empty(self._layout, size)
            self._apart = {name: np.concatenate([self._apart[name], more[name]]) for name in more}
            self._free = list(range(size, 2 * size))
        return self._free.pop()

    def _release(self, slot: int) -> None:
        place = int(self._places[slot])
        if place >= 0:
            self._free.append(place)
            self._places[slot] = -1


def _empty(layout: ObservationLayout, count: int) -> Images:
    return {term.name: np.empty((count, *term.shape), dtype=np.uint8) for term in layout.image_terms}


def _write(target: Images, place: int, source: Images) -> None:
    for name, image in source.items():
        target[name][place] = image
