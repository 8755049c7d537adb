"""golden.npz: the golden sequence, observations and the policy's action for each.

A robot computes the actions again and compares them before it uses the policy. The file has two float32
arrays in an uncompressed archive, as `numpy.savez` writes it. The reader compares each array's header
with the contract before it allocates memory, and it unpickles nothing.
"""

import io
import struct
import zipfile
from dataclasses import dataclass

import numpy as np

from sacpipe.core.errors import BundleError
from sacpipe.specs.env_spec import EnvSpec
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
_FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class Golden:
    """A sequence of observations, and onnxruntime's action for each."""

    observations: FloatArray
    """Shape (num_steps, observation_dim)."""
    actions: FloatArray
    """In the task's own units. Shape (num_steps, action_dim)."""


def pack_golden(golden: Golden) -> bytes:
    """Return the bytes of golden.npz. NumPy dates every entry 1980, so equal arrays give equal bytes."""
    buffer = io.BytesIO()
    observations, actions = (np.ascontiguousarray(array) for array in (golden.observations, golden.actions))
    np.savez(buffer, observations=observations, actions=actions)
    return buffer.getvalue()


def read_golden(data: bytes, spec: EnvSpec, num_steps: int) -> Golden:
    """Read golden.npz of a known number of steps.

    Args:
        data: Bytes of the file.
        spec: The contract's task, which fixes widths and action bounds.
        num_steps: The contract's number of rows.

    Raises:
        BundleError: the bytes are not such an archive, or a shape, type or value differs from the contract.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = sorted(info.filename for info in archive.infolist())
            if names != ["actions.npy", "observations.npy"]:
                raise _refuse(f"expected actions.npy and observations.npy, found {', '.join(names)}")
            observations = _read_array(archive, "observations", (num_steps, spec.observation_dim))
            actions = _read_array(archive, "actions", (num_steps, spec.action_dim))
    except _NOT_AN_ARCHIVE as exc:
        raise _refuse(f"expected an archive of arrays, found {exc}") from exc
    if ((actions < spec.action_low) | (actions > spec.action_high)).any():
        raise _refuse("actions: expected each within its term's low and high, found one outside")
    return Golden(observations, actions)


def _read_array(archive: zipfile.ZipFile, name: str, shape: tuple[int, int]) -> FloatArray:
    """Read one array; its header must be exactly the expected one."""
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise _refuse(f"{name}: expected an uncompressed entry, found a compressed one")
    with archive.open(entry) as file:
        if (version := np.lib.format.read_magic(file)) != (1, 0):
            raise _refuse(f"{name}: expected version (1, 0) of the npy format, found {version}")
        found_shape, is_fortran, found_type = np.lib.format.read_array_header_1_0(file)
        if (found_shape, is_fortran, found_type) != (shape, False, _FLOAT32):
            raise _refuse(f"{name}: expected float32 {shape}, found {found_type} {found_shape}")
        array = np.frombuffer(file.read(), _FLOAT32)
    if array.size != shape[0] * shape[1]:
        raise _refuse(f"{name}: expected {shape[0] * shape[1]} numbers, found {array.size}")
    if not np.isfinite(array).all():
        raise _refuse(f"{name}: expected finite numbers, found NaN or infinity")
    return array.reshape(shape)


def _refuse(fault: str) -> BundleError:
    return BundleError(f"golden.npz: {fault}. Fetch the bundle again, or export it again.")
