"""A replay buffer's memory, and what a sampler sees of it: all of it, and no way to change it.

A row is a number from 0 to len(view) - 1 and names one transition until the ring overwrites it. Rows are in
no order of time: `later` and `steps_to_end` lead from one transition of an episode to the next.
"""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sacpipe.replay.episode_ends import OPEN, EpisodeStarts
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.records import Batch, FloatArray

_ALIGNMENT = 4
"""Bytes that the records' size is a multiple of: NumPy and PyTorch view no float32 array of other strides."""


def packed_dtype(spec: EnvSpec) -> np.dtype[np.void]:
    """Return the type of a buffer's records: everything of a transition but its images, which are apart.

    The float32 vectors are first and adjacent, so that a network's input stays a view of gathered records.
    One record is one place in memory, so a random draw reads one place instead of seven.
    """
    vector = (np.float32, (spec.layout.vector_dim,))
    fields: dict[str, DTypeLike] = {
        "observations": vector,
        "actions": (np.float32, (spec.action_dim,)),
        "next_observations": vector,
        "rewards": np.float32,
        "steps_to_end": np.int32,  # see episode_ends.py
        "terminations": np.bool_,
        "truncations": np.bool_,
    }
    size = np.dtype(list(fields.items())).itemsize
    padded = -(-size // _ALIGNMENT) * _ALIGNMENT
    return np.dtype({"names": [*fields], "formats": [*fields.values()], "itemsize": padded})


def transition_bytes(spec: EnvSpec) -> int:
    """Return the memory of one transition in a buffer, in bytes, without the last images of episodes."""
    images = image_bytes(spec)
    return packed_dtype(spec).itemsize + images + (np.dtype(np.int32).itemsize if images else 0)


def batch_row_bytes(spec: EnvSpec) -> int:
    """Return the memory of one row of gathered transitions, in bytes."""
    return packed_dtype(spec).itemsize + 2 * image_bytes(spec)


def image_bytes(spec: EnvSpec) -> int:
    """Return the bytes of all images of one observation."""
    return sum(term.size for term in spec.layout.image_terms)


Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
Images = dict[str, NDArray[np.uint8]]
"""Arrays of all uint8 terms by name, with the same first axis."""

_FIRST_APART = 64
"""Places for next images at first; their number doubles when all are taken."""


class ImageRing:
    """Images of the slots of a ring, and next images apart; `stride` is the ring's. Each is stored once.

    The next image of a slot is the image of the slot that follows it in its episode. Where it is not (the
    last transition of an episode, the newest of an environment), the next image is stored apart.
    """

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


class Ring:
    """The memory of a replay buffer, which the buffer writes and its view reads: records, images, counters.

    Number i of the transitions, counted from the first ever added, is in slot i modulo the capacity.

    Args:
        spec: Task of the transitions.
        capacity: Number of slots, a multiple of `stride`.
        stride: Slots from one transition of an episode to the next: the number of environments that add in
            turn.
    """

    def __init__(self, spec: EnvSpec, capacity: int, stride: int = 1) -> None:
        self.spec, self.capacity, self.stride = spec, capacity, stride
        # np.empty reserves addresses only: the system allocates a page when it is first written.
        self.records = np.empty(capacity, dtype=packed_dtype(spec))
        self.images = ImageRing(spec.layout, capacity, stride) if spec.layout.image_terms else None
        self.starts = [EpisodeStarts(capacity // stride) for _ in range(stride)]
        """Of each environment's episodes; its transitions are counted from its own first one."""
        self.added = 0
        """Number of transitions ever added."""

    def __len__(self) -> int:
        return min(self.added, self.capacity)


class Gathered:
    """N transitions copied out of a buffer, in memory of their own. All arrays are views of N packed records.

    Args:
        spec: Task of the transitions.
        n: Number of transitions.
    """

    def __init__(self, spec: EnvSpec, n: int) -> None:
        layout, records = spec.layout, np.empty(n, dtype=packed_dtype(spec))
        self.raw = records.view(np.dtype((np.void, records.itemsize)))
        """The records without their fields, which NumPy copies faster."""
        self.observations = Observation(layout, records["observations"], layout.empty(n).images)
        self.actions: FloatArray = records["actions"]
        """In [-1, 1]. Shape (N, action_dim)."""
        self.rewards: FloatArray = records["rewards"]
        """In task units. Shape (N,)."""
        self.next_observations = Observation(layout, records["next_observations"], layout.empty(n).images)
        self.terminations: Flags = records["terminations"]
        """Whether the task itself ended. Shape (N,)."""
        self.truncations: Flags = records["truncations"]
        """Whether a time limit ended the episode. Shape (N,)."""

    def __len__(self) -> int:
        return len(self.raw)

    def batch(self, discounts: FloatArray) -> Batch:
        """Return these arrays, which later gathers into them change too, and discounts as a batch."""
        return Batch(self.observations, self.actions, self.rewards, self.next_observations, discounts)


class BufferView:
    """A live view of a replay buffer: it shows what is added later, too. All returned arrays are copies."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._raw = ring.records.view(np.dtype((np.void, ring.records.itemsize)))

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def spec(self) -> EnvSpec:
        """Task of the transitions."""
        return self._ring.spec

    @property
    def capacity(self) -> int:
        """Number of rows that the ring has when it is full."""
        return self._ring.capacity

    @property
    def added(self) -> int:
        """Number of transitions ever added, the overwritten ones included."""
        return self._ring.added

    def gather(self, rows: Rows, out: Gathered | None = None) -> Gathered:
        """Copy transitions.

        Args:
            rows: Rows of this view, in any order. Rows out of range give other transitions, without an error.
                Shape (N,).
            out: Memory of N transitions to overwrite and return, which saves its allocation.
        """
        gathered = Gathered(self.spec, len(rows)) if out is None else out
        # With mode="raise" NumPy would gather into a temporary copy.
        self._raw.take(rows, out=gathered.raw, mode="clip")
        if self._ring.images is not None:
            self._ring.images.gather(rows, gathered.observations.images)
            self._ring.images.gather_next(rows, gathered.next_observations.images)
        return gathered

    def observations(self, rows: Rows) -> Observation:
        """Copy the observations before the steps alone. Leading axis N."""
        images = self.spec.layout.empty(len(rows)).images
        if self._ring.images is not None:
            self._ring.images.gather(rows, images)
        return Observation(self.spec.layout, self._ring.records["observations"][rows], images)

    def next_observations(self, rows: Rows) -> Observation:
        """Copy the observations after the steps alone, before any reset. Leading axis N."""
        images = self.spec.layout.empty(len(rows)).images
        if self._ring.images is not None:
            self._ring.images.gather_next(rows, images)
        return Observation(self.spec.layout, self._ring.records["next_observations"][rows], images)

    def rewards(self, rows: Rows) -> FloatArray:
        """Copy rewards alone, in task units. The shape is that of the rows."""
        rewards: FloatArray = self._ring.records["rewards"][rows]
        return rewards

    def terminations(self, rows: Rows) -> Flags:
        """Return whether the task itself ended. The shape is that of the rows."""
        terminations: Flags = self._ring.records["terminations"][rows]
        return terminations

    def truncations(self, rows: Rows) -> Flags:
        """Return whether a time limit ended the episode. The shape is that of the rows."""
        truncations: Flags = self._ring.records["truncations"][rows]
        return truncations

    def steps_to_end(self, rows: Rows) -> Rows:
        """Return how many transitions follow in the same episode: up to its end, or up to the newest one.

        Environments add in turn, so every running episode has its newest transition among the last ones.
        """
        steps = self._ring.records["steps_to_end"][rows].astype(np.int64)
        running = steps == OPEN
        steps[running] = (self._ring.added - 1 - self.numbers(rows[running])) // self._ring.stride
        return steps

    def later(self, rows: Rows, steps: Rows | int) -> Rows:
        """Return the rows of the transitions so many steps later, at most `steps_to_end`.

        Below 0 for earlier ones, at least minus `steps_since_start`.
        """
        return (rows + steps * self._ring.stride) % self._ring.capacity

    def steps_since_start(self, rows: Rows) -> Rows:
        """Return how many transitions before are of the same episode, without those that were overwritten."""
        stride, oldest = self._ring.stride, self._ring.added - len(self)
        places, environments = np.divmod(self.numbers(rows), stride)
        starts = np.empty_like(places)
        for environment in np.unique(environments).tolist():
            own = environments == environment
            starts[own] = self._ring.starts[environment].at(places[own])
        held_from = (oldest - environments + stride - 1) // stride
        steps: Rows = places - np.maximum(starts, held_from)
        return steps

    def numbers(self, rows: Rows) -> Rows:
        """Return the numbers of transitions, counted from the first one ever added."""
        oldest = self._ring.added - len(self)
        return oldest + (rows - oldest) % self._ring.capacity

    def rows(self, numbers: Rows) -> Rows:
        """Return the rows of transitions by their numbers, which the buffer must hold."""
        return numbers % self._ring.capacity

    def find(self, observation: Observation, action: FloatArray) -> int | None:
        """Return the number of the newest transition with an action and an observation, or None.

        The comparison leaves out the desired goal, which samplers change, and the images. All transitions
        are compared: this takes a tenth of a second for a million of them.
        """
        records = self._ring.records[: len(self)]
        rows = np.flatnonzero((records["actions"] == action).all(axis=1))
        layout = self.spec.layout
        kept = np.ones(layout.vector_dim, dtype=np.bool_)
        for term in layout.vector_terms:
            if "desired_goal" in term.groups:
                kept[layout.columns(term.name)] = False
        same = records["observations"][rows][:, kept].view(np.uint32) == observation.vector[kept].view(
            np.uint32
        )
        found = self.numbers(rows[same.all(axis=1)])
        return int(found.max()) if len(found) else None
