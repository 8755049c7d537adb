"""The memory of a replay buffer: records, images and counters, which the buffer writes and its view reads."""

import numpy as np

from sacpipe.replay.episode_ends import EpisodeStarts
from sacpipe.replay.images import ImageRing
from sacpipe.replay.packed import packed_dtype
from sacpipe.specs.env_spec import EnvSpec


class Ring:
    """Slots of transitions. Number i, counted from the first ever added, is in slot i modulo the capacity.

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
