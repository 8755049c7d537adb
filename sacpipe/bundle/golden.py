"""golden.npz: the golden sequence, observations and the policy's action for each.

A robot computes the actions again and compares them before it uses the policy. The file is an uncompressed
archive, as `numpy.savez` writes it, of one array for each observation term, `observation.NAME.npy`, and of
`actions.npy`; for a policy with a noise input, `noise.npy` too. The reader compares each array's header with
the contract before it allocates memory, and it unpickles nothing.
"""

import io
import math
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import BundleError
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_NOT_AN_ARCHIVE = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,  # for example an encrypted entry
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
"""Errors of `zipfile` and NumPy for bytes that are not such an archive; neither lists its errors."""
_TYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1")}


@dataclass(frozen=True, eq=False)
class Golden:
    """A sequence of observations, and onnxruntime's action for each."""

    observations: Observation
    """num_steps observations of the policy's terms."""
    actions: FloatArray
    """In the task's own units. Shape (num_steps, action_dim)."""
    noise: FloatArray | None = None
    """Input `noise` of each action; None for a deterministic policy. Shape (num_steps, noise_dim)."""


def pack_golden(golden: Golden) -> bytes:
    """Return the bytes of golden.npz. NumPy dates every entry 1980, so equal arrays give equal bytes."""
    buffer = io.BytesIO()
    arrays = {f"observation.{name}": array for name, array in golden.observations.items()}
    arrays["actions"] = golden.actions
    if golden.noise is not None:
        arrays["noise"] = golden.noise
    entries: dict[str, Any] = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    np.savez(buffer, **entries)
    return buffer.getvalue()


def golden_bytes(spec: EnvSpec, num_steps: int, noise_dim: int | None) -> int:
    """Return the size of the arrays of golden.npz, in bytes."""
    return sum(
        math.prod(shape) * _TYPES[dtype].itemsize
        for shape, dtype in _arrays(spec, num_steps, noise_dim).values()
    )


def read_golden(data: bytes, spec: EnvSpec, num_steps: int, noise_dim: int | None = None) -> Golden:
    """Read golden.npz of a known number of steps.

    Args:
        data: Bytes of the file.
        spec: The contract's task, which fixes shapes and action bounds.
        num_steps: The contract's number of rows.
        noise_dim: The contract's length of the input `noise`; None if it has none.

    Raises:
        BundleError: the bytes are not such an archive, or a shape, type or value differs from the contract.
    """
    expected = _arrays(spec, num_steps, noise_dim)
    if (size := golden_bytes(spec, num_steps, noise_dim)) > len(data):
        raise _refuse(f"expected at least {size} bytes, found {len(data)}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted(info.filename for info in archive.infolist())
            if names != sorted(f"{name}.npy" for name in expected):
                raise _refuse(f"expected {_list(expected)}, found {', '.join(names)[:500]}")
            arrays = {name: _read_array(archive, name, *expected[name]) for name in expected}
    except _NOT_AN_ARCHIVE as exc:
        raise _refuse(f"expected an archive of arrays, found {exc}") from exc
    actions, noise = arrays.pop("actions"), arrays.pop("noise", None)
    if ((actions < spec.action_low) | (actions > spec.action_high)).any():
        raise _refuse("actions: expected each within its term's low and high, found one outside")
    observations = {name.removeprefix("observation."): array for name, array in arrays.items()}
    return Golden(spec.layout.pack(observations), actions, noise)


_Shape = tuple[int, ...]


def _arrays(spec: EnvSpec, num_steps: int, noise_dim: int | None) -> dict[str, tuple[_Shape, str]]:
    """Return shape and type of each array, by name."""
    arrays: dict[str, tuple[_Shape, str]] = {
        f"observation.{term.name}": ((num_steps, *term.shape), term.dtype) for term in spec.observation
    }
    arrays["actions"] = ((num_steps, spec.action_dim), "float32")
    if noise_dim is not None:
        arrays["noise"] = ((num_steps, noise_dim), "float32")
    return arrays


def _read_array(archive: zipfile.ZipFile, name: str, shape: _Shape, dtype: str) -> NDArray[Any]:
    """Read one array; its header must be exactly the expected one."""
    entry, item_type = archive.getinfo(f"{name}.npy"), _TYPES[dtype]
    if entry.compress_type != zipfile.ZIP_STORED:
        raise _refuse(f"{name}: expected an uncompressed entry, found a compressed one")
    with archive.open(entry) as file:
        if (version := np.lib.format.read_magic(file)) != (1, 0):
            raise _refuse(f"{name}: expected version (1, 0) of the npy format, found {version}")
        found_shape, is_fortran, found_type = np.lib.format.read_array_header_1_0(file)
        if (found_shape, is_fortran, found_type) != (shape, False, item_type):
            raise _refuse(f"{name}: expected {dtype} {shape}, found {found_type} {found_shape}")
        array: NDArray[Any] = np.frombuffer(file.read(math.prod(shape) * item_type.itemsize + 1), item_type)
    if array.size != math.prod(shape):
        raise _refuse(f"{name}: expected {math.prod(shape)} numbers, found another number of them")
    if not np.isfinite(array).all():
        raise _refuse(f"{name}: expected finite numbers, found NaN or infinity")
    return array.reshape(shape)


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(f"{name}.npy" for name in names))[:500]


def _refuse(fault: str) -> BundleError:
    return BundleError(f"golden.npz: {fault}. Fetch the bundle again, or export it again.")
