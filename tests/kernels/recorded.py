"""Programs that are written to a file, for driver.cpp: their kernels, waits and arrays."""

import ctypes

import numpy as np

from sacpipe.kernels.program import Program
from sacpipe.kernels.self_test import TestedUpdate

_NONE = -1


class RecordedProgram(Program):
    """Keeps what is added."""

    def __init__(self, isa=""):
        super().__init__(isa)
        self.calls = []

    def add(self, kernel, *, work=0, **arguments):
        waits = self.waits
        number = super().add(kernel, work=work, **arguments)
        ordered = [arguments[name] for name in self._signatures[kernel].arguments]
        self.calls.append((kernel, int(self.waits > waits), ordered))
        return number


def record_update(sizes, isa=""):
    """Compose an update of the self-test; return it and its record."""
    update = TestedUpdate(sizes, RecordedProgram(isa))
    return update, Record(update.program, update.batch)


class Record:
    """Memory of a program, in regions of arrays that overlap, and the text of its file.

    Args:
        program: Composed, and not run yet.
        rows: Arrays that its arrays of pointers (int64) point into.
    """

    def __init__(self, program, rows):
        self._program, self._rows = program, rows
        arrays = [
            value for _, _, values in program.calls for value in values if isinstance(value, np.ndarray)
        ]
        self._regions = _merged([*arrays, *rows])
        self.bytes = self.encode()

    def contents(self):
        """The present bytes of all regions of numbers, as the driver prints them."""
        return b"".join(
            ctypes.string_at(start, end - start) for start, end, is_slots in self._regions if not is_slots
        )

    def _place(self, address):
        for index, (start, end, _) in enumerate(self._regions):
            if start <= address < end:
                return index, address - start
        raise AssertionError("an address of no array")

    def encode(self, *, has_waits=True):
        """The bytes of the file; without waits, threads race."""
        program = self._program
        parts = [_words(len(self._regions), len(program.calls))]
        for start, end, is_slots in self._regions:
            data = ctypes.string_at(start, end - start)
            if is_slots:
                pairs = np.frombuffer(data, np.int64).reshape(-1, 2)
                places = [(self._place(int(address)), int(stride)) for address, stride in pairs]
                data = b"".join(_words(index << 32 | offset, stride) for (index, offset), stride in places)
            parts += [_words(end - start, int(is_slots)), data.ljust(-(-len(data) // 8) * 8, b"\0")]
        for kernel, waits, values in program.calls:
            parts.append(kernel.encode().ljust(32, b"\0") + _words(waits and has_waits, len(values)))
            parts += [self._argument(value) for value in values]
        return b"".join(parts)

    def _argument(self, value):
        if isinstance(value, np.ndarray):
            return _words(*self._place(value.ctypes.data))
        return _words(_NONE, 0 if value is None else int(value))


def _words(*values):
    return np.array(values, dtype="<i8").tobytes()


def _merged(arrays):
    """Start, end, and whether it holds pointers, of all regions."""
    spans = sorted(
        (array.ctypes.data, array.ctypes.data + array.nbytes, array.dtype == np.int64) for array in arrays
    )
    found = []
    for start, end, is_slots in spans:
        if found and start < found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1]), is_slots
        else:
            found.append((start, end, is_slots))
    return found
