"""The inputs of a request: tensors of the Open Inference Protocol in, packed observations out. No I/O.

A request has one tensor for each term of the policy, by name, in any order. Where the policy has no images,
one flat tensor `observation` may stand for all of them: their entries in the order of the specification.
Names, types, shapes and sizes are checked before memory is allocated.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from numpy.typing import NDArray

from sacpipe.server.http_errors import RefusalError
from sacpipe.server.json_numbers import read_numbers
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.terms import DType

FLAT_INPUT = "observation"
"""Name of the flat input."""
DATATYPES: dict[DType, str] = {"float32": "FP32", "uint8": "UINT8"}
"""Datatype of the protocol, by dtype of a term."""

Count = Annotated[int, Meta(ge=0)]
Stamp = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Nanoseconds of a clock, as a recording can hold them."""
_FLOAT32 = np.dtype("<f4")
_SHOWN_NAMES, _SHOWN_CHARS = 8, 40


class TensorParameters(Struct):
    """Parameters of an input."""

    binary_data_size: Count | None = None
    """Number of bytes of the tensor after the JSON; None where `data` has the numbers."""
    stamp_ns: Stamp | None = None
    """Time at which this term was taken, in nanoseconds of the server's monotonic clock."""


class InputTensor(Struct):
    """One entry of `inputs`."""

    name: str
    datatype: str
    shape: list[Count]
    parameters: TensorParameters | None = None
    data: Raw | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class InputForm:
    """What one input has to be, but for the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """Shape without the batch."""
    size: int
    """Number of entries of one observation."""
    num_bytes: int
    """Number of bytes of one observation."""

    @classmethod
    def of(cls, name: str, dtype: DType, shape: tuple[int, ...]) -> Self:
        """Return the form of a tensor."""
        size = math.prod(shape)
        return cls(name, DATATYPES[dtype], shape, size, size * np.dtype(dtype).itemsize)


class Inputs:
    """The inputs that a policy's requests have.

    Args:
        layout: Terms of the policy.
        max_batch: Maximum number of observations in one request.
    """

    def __init__(self, layout: ObservationLayout, max_batch: int) -> None:
        self._layout, self.max_batch = layout, max_batch
        self.terms = {term.name: InputForm.of(term.name, term.dtype, term.shape) for term in layout.terms}
        """Input of each term, by name, in the order of the specification."""
        flat = InputForm.of(FLAT_INPUT, "float32", (layout.vector_dim,))
        self.flat = None if layout.image_terms else flat
        """The flat input; None where the policy has images."""
        self._flat_columns = _flat_columns(layout)

    def read(self, tensors: Sequence[InputTensor], tail: bytes) -> Observation:
        """Return the observations of a request: at least one, not checked for NaN, perhaps read-only.

        Args:
            tensors: The request's `inputs`.
            tail: Bytes after the JSON: the binary tensors, in the order of the inputs.

        Raises:
            RefusalError: names the place, what was expected and what was found.
        """
        forms = self._find_forms(tensors)
        batch = self._check_tensors(tensors, forms, len(tail))
        parts: dict[str, bytes | memoryview] = {}
        rest, end = memoryview(tail), 0
        for index, (tensor, form) in enumerate(zip(tensors, forms, strict=True)):
            if tensor.data is UNSET:
                begin, end = end, end + batch * form.num_bytes
                parts[form.name] = rest[begin:end]
            else:
                shape = (batch, *form.shape)
                parts[form.name] = read_numbers(tensor.data, form.datatype, shape, f"inputs[{index}].data")
        if forms[0] is self.flat:
            return self._unpack_flat(parts[FLAT_INPUT], batch)
        return self._pack(parts, batch)

    def read_raw(self, body: bytes) -> Observation:
        """Return the observation of a body that is one flat observation and nothing else.

        Raises:
            RefusalError: the policy has images, or the body has another size.
        """
        if self.flat is None:
            raise RefusalError(
                "Inference-Header-Content-Length: expected the length of the JSON, found 0. A body without "
                "JSON is for policies without images; send the terms by name"
            )
        if len(body) != self.flat.num_bytes:
            raise _wrong_size(len(body), 1, self.flat, FLAT_INPUT)
        return self._unpack_flat(body, 1)

    def _find_forms(self, tensors: Sequence[InputTensor]) -> list[InputForm]:
        """Return the form of each tensor of a request."""
        names = [tensor.name for tensor in tensors]
        if len(names) == len(self.terms) and self.terms.keys() == set(names):
            return [self.terms[name] for name in names]
        if self.flat is not None and names == [FLAT_INPUT]:
            return [self.flat]
        counts = Counter(names)
        faults = {
            "missing": [name for name in self.terms if name not in counts],
            "unknown": [name for name in counts if name not in self.terms],
            "repeated": [name for name, count in counts.items() if count > 1],
        }
        flat = "" if self.flat is None else f", or '{FLAT_INPUT}' alone"
        found = "; ".join(f"{fault} {_shown(of_kind)}" for fault, of_kind in faults.items() if of_kind)
        raise RefusalError(f"inputs: expected {_shown(self.terms)}, each once{flat}; {found}")

    def _check_tensors(
        self, tensors: Sequence[InputTensor], forms: Sequence[InputForm], num_bytes: int
    ) -> int:
        """Check types, shapes and announced sizes; return the batch size."""
        batch, total = 0, 0
        for index, (tensor, form) in enumerate(zip(tensors, forms, strict=True)):
            if tensor.datatype != form.datatype:
                raise RefusalError(
                    f"inputs[{index}].datatype: expected {form.datatype}, found "
                    f"'{tensor.datatype[:_SHOWN_CHARS]}'"
                )
            batch = self._check_shape(tensor.shape, form, batch, index)
            parameters = tensor.parameters
            size = None if parameters is None else parameters.binary_data_size
            if (size is None) == (tensor.data is UNSET):
                raise RefusalError(
                    f"inputs[{index}]: expected either `data` or `parameters.binary_data_size`"
                )
            if size is not None:
                if size != batch * form.num_bytes:
                    raise _wrong_size(size, batch, form, f"inputs[{index}].parameters.binary_data_size")
                total += size
        if total != num_bytes:
            raise RefusalError(
                f"binary_data_size: expected {num_bytes} in all, the bytes after the JSON header, found "
                f"{total}"
            )
        return batch

    def _check_shape(self, shape: list[int], form: InputForm, batch: int, index: int) -> int:
        """Return the batch size, which is that of the inputs before where `batch` is not 0."""
        is_batch = bool(shape) and (shape[0] == batch if batch else 1 <= shape[0] <= self.max_batch)
        if not is_batch or tuple(shape[1:]) != form.shape:
            expected = ", ".join(map(str, (batch or f"1 to {self.max_batch}", *form.shape)))
            found = str(shape[:_SHOWN_NAMES])[:80]
            raise RefusalError(f"inputs[{index}].shape: expected [{expected}], found {found}", "shape")
        return shape[0]

    def _unpack_flat(self, data: bytes | memoryview, batch: int) -> Observation:
        rows: NDArray[np.float32] = np.frombuffer(data, _FLOAT32).reshape(batch, -1)
        if self._flat_columns is not None:
            rows = rows[:, self._flat_columns]
        return Observation(self._layout, rows, {})

    def _pack(self, parts: dict[str, bytes | memoryview], batch: int) -> Observation:
        layout = self._layout
        vector: NDArray[np.float32]
        if batch == 1:  # one copy of all terms: a term costs 0.1 us, an assignment of NumPy 0.5 us
            data = b"".join([parts[term.name] for term in layout.vector_terms])
            vector = np.frombuffer(data, _FLOAT32).reshape(1, -1)
        else:
            vector = np.empty((batch, layout.vector_dim), dtype=np.float32)
            for term in layout.vector_terms:
                columns = np.frombuffer(parts[term.name], _FLOAT32).reshape(batch, -1)
                vector[:, layout.columns(term.name)] = columns
        images = {
            term.name: np.frombuffer(parts[term.name], np.uint8).reshape(batch, *term.shape)
            for term in layout.image_terms
        }
        return Observation(layout, vector, images)


def _flat_columns(layout: ObservationLayout) -> NDArray[np.intp] | None:
    """Return the place in a flat observation of each entry of the vector; None where the two are the same."""
    if layout.image_terms or layout.vector_terms == layout.terms:
        return None
    places: dict[str, NDArray[np.intp]] = {}
    end = 0
    for term in layout.terms:
        places[term.name] = np.arange(end, end + term.size)
        end += term.size
    return np.concatenate([places[term.name] for term in layout.vector_terms])


def _wrong_size(num_bytes: int, batch: int, form: InputForm, place: str) -> RefusalError:
    return RefusalError(
        f"{place}: expected {batch * form.num_bytes} bytes, {batch} x {form.size} of {form.datatype}, found "
        f"{str(num_bytes)[:_SHOWN_CHARS]}",
        "shape",
    )


def _shown(names: Iterable[str]) -> str:
    every = list(names)
    shown = ", ".join(f"'{name[:_SHOWN_CHARS]}'" for name in every[:_SHOWN_NAMES])
    return shown + (f" and {len(every) - _SHOWN_NAMES} more" if len(every) > _SHOWN_NAMES else "")
