"""Programs: lists of kernels that the threads of the team run together by one call.

A kernel's work is cut into units, of which every thread takes its share; see csrc/kernel.h. Threads need not
wait for each other between two kernels where each unit of the second reads only what the same unit of the
first wrote, as the layers of a network over the same rows. `Program.add` finds the places where they must,
from the arrays that kernels read and write.
"""

import weakref
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.kernels.interface import library
from sacpipe.kernels.team import num_threads

Argument = NDArray[np.generic] | int | None
_MIN_WORK = 4_000_000
"""Multiply-adds of a program below which a second thread costs more than it saves."""


class Signature(NamedTuple):
    """What a kernel takes."""

    partition: str
    """What a unit is: `rows`, `panels` or `once`."""
    arguments: dict[str, str]
    """Access by name: `own`, `all`, `out` or `number`."""


class _Access(NamedTuple):
    start: int
    end: int
    access: str
    partition: tuple[object, ...]


def signatures(isa: str = "") -> dict[str, Signature]:
    """Return all kernels of the library by name; `isa` as of `library`."""
    found = {}
    for line in library(isa).sacpipe_kernels().decode().splitlines():
        name, partition, *arguments = line.split()
        found[name] = Signature(partition, dict(argument.split(":") for argument in arguments))
    return found


class Program:
    """Kernels in the order in which they run. Arrays are passed by address and kept alive.

    Args:
        isa: Instruction set; empty for the one that this process uses.
    """

    def __init__(self, isa: str = "") -> None:
        self._library, self._signatures = library(isa), signatures(isa)
        self._handle = self._library.sacpipe_program_new()
        self._finalizer = weakref.finalize(self, self._library.sacpipe_program_free, self._handle)
        self._arrays: list[Argument] = []
        self._since_wait: list[_Access] = []
        self._work = 0
        self.waits = 0
        """Number of places where all threads wait for each other."""

    def add(self, kernel: str, *, work: int = 0, **arguments: Argument) -> int:
        """Add a kernel, and return its number, counted from 1.

        Args:
            kernel: Its name.
            work: Multiply-adds.
            arguments: All of the kernel's; None for an array that it can do without.

        Raises:
            ValueError: there is no such kernel, an argument is missing or left over, or an array is not
                contiguous.
        """
        signature = self._signatures.get(kernel)
        if signature is None or signature.arguments.keys() != arguments.keys():
            expected = "no kernel of this name" if signature is None else sorted(signature.arguments)
            raise ValueError(f"kernel {kernel}: expected {expected}, found {sorted(arguments)}")
        packed = np.array([_address(arguments[name], name) for name in signature.arguments], dtype=np.int64)
        accesses = self._accesses(kernel, signature, arguments, packed)
        must_wait = any(_conflict(old, new) for new in accesses for old in self._since_wait)
        if must_wait:
            self._since_wait.clear()
            self.waits += 1
        self._since_wait += accesses
        self._arrays += [value for value in arguments.values() if isinstance(value, np.ndarray)]
        self._work += work
        return int(
            self._library.sacpipe_program_add(
                self._handle, kernel.encode(), packed.ctypes.data, len(packed), int(must_wait)
            )
        )

    def _accesses(
        self, kernel: str, signature: Signature, arguments: dict[str, Argument], packed: NDArray[np.int64]
    ) -> list[_Access]:
        units = self._library.sacpipe_units(kernel.encode(), packed.ctypes.data, len(packed))
        partition: tuple[object, ...] = (signature.partition, units)
        counts = arguments.get("counts")
        if signature.partition == "rows" and isinstance(counts, np.ndarray):
            partition = ("listed", counts.ctypes.data)
        found = []
        for name, access in signature.arguments.items():
            value = arguments[name]
            if not isinstance(value, np.ndarray):
                continue
            is_shared = arguments.get(f"{name}_stride") == 0 or (
                name == "mask" and arguments.get("lists") is not None
            )
            kind = "all" if access == "own" and is_shared else access
            start = value.ctypes.data
            found.append(_Access(start, start + value.nbytes, kind, partition))
        return found

    def run(self, threads: int | None = None) -> int:
        """Run all kernels; return the number of the one that refused a value, or 0.

        Args:
            threads: How many run it; None for as many as the work is worth. The number changes no byte.
        """
        if threads is None:
            threads = num_threads() if self._work >= _MIN_WORK else 1
        return int(self._library.sacpipe_program_run(self._handle, threads))

    def run_shares(self, threads: int) -> int:
        """Run all kernels in this thread, in an order that many threads could take; a check of the waits.

        From one wait to the next, the share of the last of `threads` threads is computed first. The bytes are
        those of `run` unless a wait is missing.
        """
        return int(self._library.sacpipe_program_run_shares(self._handle, threads))


def _address(value: Argument, name: str) -> int:
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise ValueError(f"argument {name}: expected a contiguous array")
        return value.ctypes.data
    return 0 if value is None else int(value)


def _conflict(old: _Access, new: _Access) -> bool:
    if old.end <= new.start or new.end <= old.start or "out" not in (old.access, new.access):
        return False
    return "all" in (old.access, new.access) or old.partition != new.partition
