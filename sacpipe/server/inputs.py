"""The inputs of a request: tensors of the Open Inference Protocol in, packed observations out. No I/O.

A request has one tensor for each term of the policy, by name, in any order. Where the policy has no images,
one flat tensor `observation` may stand for all of them: their entries in the order of the specification.
Names, types, shapes and sizes are checked before memory is allocated.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct
from numpy.typing import NDArray

from sacpipe.server.http_errors import RefusalError
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.terms import DType

FLAT_INPUT = "observation"
"""Name of the flat input."""
DATATYPES: dict[DType, str] = {"float32": "FP32", "uint8": "UINT8"}
"""Datatype of the protocol, by dtype of a term."""

Count = Annotated[int, Meta(ge=0)]
Stamp = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Nanoseconds of a clock, as a recording can hold them."""
_DTYPES = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
_ENTRIES: dict[str, Any] = {"FP32": float, "UINT8": Annotated[int, Meta(ge=0, le=255)]}
_NESTED = re.compile(rb"\[\s*\[")
_SHOWN_NAMES, _SHOWN_CHARS = 8, 40

_T = TypeVar("_T")


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
    data: Raw = Raw()

    @property
    def binary_data_size(self) -> int | None:
        """Number of bytes of the tensor after the JSON; None where `data` has the numbers."""
        return None if self.parameters is None else self.parameters.binary_data_size


@dataclass(frozen=True, slots=True)
class InputForm:
    """What one input has to be, but for the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """Shape without the batch."""
    size: int
    """Number of entries of one observation."""


class Inputs:
    """The inputs that a policy's requests have.

    Args:
        layout: Terms of the policy.
        max_batch: Maximum number of observations in one request.
    """

    def __init__(self, layout: ObservationLayout, max_batch: int) -> None:
        self._layout, self.max_batch = layout, max_batch
        self.terms = {
            term.name: InputForm(term.name, DATATYPES[term.dtype], term.shape, term.size)
            for term in layout.terms
        }
        """Input of each term, by name, in the order of the specification."""
        self.flat = None if layout.image_terms else _flat_form(layout)
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
        rest = memoryview(tail)
        for index, (tensor, form) in enumerate(zip(tensors, forms, strict=True)):
            size = tensor.binary_data_size
            if size is None:
                parts[form.name] = _read_json(bytes(tensor.data), batch, form, f"inputs[{index}].data")
            else:
                parts[form.name], rest = rest[:size], rest[size:]
        if self.flat is not None and forms[0] is self.flat:
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
        _check_size(len(body), 1, self.flat, FLAT_INPUT)
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
        """Check types, shapes and announced sizes, and return the batch size."""
        batch, announced = 0, 0
        for index, (tensor, form) in enumerate(zip(tensors, forms, strict=True)):
            place = f"inputs[{index}]"
            if tensor.datatype != form.datatype:
                raise RefusalError(
                    f"{place}.datatype: expected {form.datatype}, found '{tensor.datatype[:_SHOWN_CHARS]}'"
                )
            batch = self._check_shape(tensor.shape, form, batch, place)
            size = tensor.binary_data_size
            if (size is None) == (not tensor.data):
                raise RefusalError(f"{place}: expected either `data` or `parameters.binary_data_size`")
            if size is not None:
                _check_size(size, batch, form, f"{place}.parameters.binary_data_size")
                announced += size
        if announced != num_bytes:
            raise RefusalError(
                f"binary_data_size: expected {num_bytes} in all, the bytes after the JSON header, found "
                f"{announced}"
            )
        return batch

    def _check_shape(self, shape: list[int], form: InputForm, batch: int, place: str) -> int:
        """Return the batch size, which is that of the inputs before where `batch` is not 0."""
        is_batch = bool(shape) and (shape[0] == batch if batch else 1 <= shape[0] <= self.max_batch)
        if not is_batch or tuple(shape[1:]) != form.shape:
            expected = ", ".join(map(str, (batch or f"1 to {self.max_batch}", *form.shape)))
            found = str(shape[:_SHOWN_NAMES])[:80]
            raise RefusalError(f"{place}.shape: expected [{expected}], found {found}", "shape")
        return shape[0]

    def _unpack_flat(self, data: bytes | memoryview, batch: int) -> Observation:
        rows: NDArray[np.float32] = np.frombuffer(data, _DTYPES["FP32"]).reshape(batch, -1)
        if self._flat_columns is not None:
            rows = rows[:, self._flat_columns]
        return Observation(self._layout, rows, {})

    def _pack(self, parts: dict[str, bytes | memoryview], batch: int) -> Observation:
        layout = self._layout
        vector: NDArray[np.float32]
        if batch == 1:  # one copy of all terms: a term costs 0.1 us, an assignment of NumPy 0.5 us
            data = b"".join([parts[term.name] for term in layout.vector_terms])
            vector = np.frombuffer(data, _DTYPES["FP32"]).reshape(1, -1)
        else:
            vector = np.empty((batch, layout.vector_dim), dtype=np.float32)
            for term in layout.vector_terms:
                columns = np.frombuffer(parts[term.name], _DTYPES["FP32"]).reshape(batch, -1)
                vector[:, layout.columns(term.name)] = columns
        images = {
            term.name: np.frombuffer(parts[term.name], np.uint8).reshape(batch, *term.shape)
            for term in layout.image_terms
        }
        return Observation(layout, vector, images)


def decode(decoder: "msgspec.json.Decoder[_T]", text: bytes | Raw, where: str) -> _T:
    """Decode JSON.

    Raises:
        RefusalError: it is no JSON, or not of the decoder's type.
    """
    try:
        return decoder.decode(text)
    except RecursionError:
        raise RefusalError(f"{where}: expected a smaller depth of nesting") from None
    except ValueError as exc:  # msgspec's own, and of text that is not UTF-8
        raise RefusalError(f"{where}: {exc}") from None


def _flat_form(layout: ObservationLayout) -> InputForm:
    return InputForm(FLAT_INPUT, DATATYPES["float32"], (layout.vector_dim,), layout.vector_dim)


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


def _check_size(num_bytes: int, batch: int, form: InputForm, place: str) -> None:
    expected = batch * form.size * _DTYPES[form.datatype].itemsize
    if num_bytes != expected:
        raise RefusalError(
            f"{place}: expected {expected} bytes, {batch} x {form.size} of {form.datatype}, "
            f"found {str(num_bytes)[:_SHOWN_CHARS]}",
            "shape",
        )


@functools.cache
def _decoder(datatype: str, depth: int) -> "msgspec.json.Decoder[Any]":
    kind: Any = _ENTRIES[datatype]
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _read_json(data: bytes, batch: int, form: InputForm, place: str) -> bytes:
    """Return the numbers of `data`, flat or nested, as bytes of the tensor."""
    count = batch * form.size
    if (found := data.count(b",") + 1) > count:  # before a list of them takes memory
        raise RefusalError(f"{place}: expected {count} numbers, found {found}", "shape")
    full_shape = (batch, *form.shape)
    shape = full_shape if len(full_shape) > 1 and _NESTED.match(data) else (count,)
    values = _flatten(decode(_decoder(form.datatype, len(shape)), data, place), shape, place)
    with np.errstate(over="ignore"):  # checked below
        array = np.array(values, dtype=_DTYPES[form.datatype])
    if form.datatype == "FP32" and not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise RefusalError(f"{place}: number {index} is beyond FP32, found {values[index]}")
    return array.tobytes()


def _flatten(nested: list[Any], shape: Sequence[int], place: str) -> list[Any]:
    """Return the numbers of nested lists, which must have this shape."""
    if len(nested) != shape[0] and len(shape) == 1:
        raise RefusalError(f"{place}: expected {shape[0]} numbers, found {len(nested)}", "shape")
    lists = [nested]
    for axis, length in enumerate(shape):
        for part in lists:
            if len(part) != length:
                raise RefusalError(
                    f"{place}: expected lists of the shape {list(shape)}, found one of {len(part)} in axis "
                    f"{axis}",
                    "shape",
                )
        lists = [entry for part in lists for entry in part]
    return lists


def _shown(names: Iterable[str]) -> str:
    every = list(names)
    shown = ", ".join(f"'{name[:_SHOWN_CHARS]}'" for name in every[:_SHOWN_NAMES])
    return shown + (f" and {len(every) - _SHOWN_NAMES} more" if len(every) > _SHOWN_NAMES else "")
