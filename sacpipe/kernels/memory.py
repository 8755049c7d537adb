"""Memory of programs: arrays at the beginning of a cache line, on large pages where possible."""

import mmap
from math import prod

import numpy as np
from numpy.typing import NDArray

_LINE = 64
_GAP = 128
"""Bytes between arrays: at equal places of two arrays lie then different lines of the first cache."""
_CHUNK = 1 << 23


class Memory:
    """Gives out zeroed arrays, which stay valid as long as one of them or the memory is kept."""

    def __init__(self) -> None:
        self._chunk: mmap.mmap | None = None
        self._used = self._size = 0

    def zeros(self, *shape: int, dtype: type[np.generic] = np.float32) -> NDArray[np.generic]:
        """Return an array of zeros, at the beginning of a cache line."""
        size = prod(shape) * np.dtype(dtype).itemsize
        if self._chunk is None or self._used + size > self._size:
            self._size = max(_CHUNK, -(-size // _CHUNK) * _CHUNK)
            self._chunk, self._used = (
                mmap.mmap(-1, self._size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
                0,
            )
            if hasattr(mmap, "MADV_HUGEPAGE"):
                self._chunk.madvise(mmap.MADV_HUGEPAGE)
        array = np.frombuffer(self._chunk, dtype, prod(shape), self._used).reshape(shape)
        self._used += -(-size // _LINE) * _LINE + _GAP
        return array

    def floats(self, *shape: int) -> NDArray[np.float32]:
        """Return float32 zeros."""
        return self.zeros(*shape).view(np.float32)

    def integers(self, *shape: int) -> NDArray[np.int32]:
        """Return int32 zeros."""
        return self.zeros(*shape, dtype=np.int32).view(np.int32)

    def words(self, *shape: int) -> NDArray[np.uint32]:
        """Return uint32 zeros."""
        return self.zeros(*shape, dtype=np.uint32).view(np.uint32)
