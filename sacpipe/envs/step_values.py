"""Checks of what a task returns: observations, rewards and flags, the same for every task suite.

NumPy would broadcast an observation of length 1, parse a text as a number, and take any object for a flag.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.fence import first_error
from sacpipe.specs.records import FloatArray

_NUMERIC_KINDS = "fiub"
"""NumPy's letters of floats, signed and unsigned integers, and bools."""
_FLOAT32 = np.dtype(np.float32)
_MAX_PYTHON_SUM = 64
"""Largest number of values for which a sum in Python is faster than a call of NumPy."""


class UnexpectedValueError(ValueError):
    """A task returned a value that its specification excludes; the message has expected and found."""


class ObservationPart(NamedTuple):
    """One array of a task's observation."""

    path: tuple[Any, ...]
    """Keys that lead to the array through nested mappings; empty if the observation is the array."""
    shape: tuple[int, ...]
    """Shape that the task declares."""

    @property
    def name(self) -> str:
        """Keys, joined by slashes."""
        return "/".join(map(str, self.path))

    @property
    def size(self) -> int:
        """Number of entries in the flat observation."""
        return math.prod(self.shape)


def observation_reader(parts: Sequence[ObservationPart]) -> Callable[[Any], FloatArray]:
    """Return a function that copies a task's observation into a new float32 vector, part by part.

    The function raises UnexpectedValueError for a missing part, another shape, or a type without numbers.
    """
    if len(parts) == 1 and not parts[0].path:
        return _array_reader(parts[0])

    def read_mapping(observation: Any) -> FloatArray:
        arrays = [_numeric(_follow(observation, part), part).ravel() for part in parts]
        return np.concatenate(arrays, dtype=np.float32, casting="unsafe")

    return read_mapping


def _array_reader(part: ObservationPart) -> Callable[[Any], FloatArray]:
    is_vector = len(part.shape) == 1

    def read_array(observation: Any) -> FloatArray:
        array = _numeric(observation, part).astype(np.float32)  # always a copy
        return array if is_vector else array.reshape(-1)

    return read_array


def _follow(observation: Any, part: ObservationPart) -> Any:
    value = observation
    for depth, key in enumerate(part.path):
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError) as exc:
            path = "/".join(map(str, part.path[: depth + 1]))
            raise UnexpectedValueError(
                f"expected an observation with the entry '{path}', found {_describe(observation)}"
            ) from exc
    return value


def _numeric(value: Any, part: ObservationPart) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError as exc:  # a list of lists of different lengths
        raise UnexpectedValueError(f"{_expected(part.name, part.shape)}, found {_describe(value)}") from exc
    if array.shape != part.shape or array.dtype.kind not in _NUMERIC_KINDS:
        raise UnexpectedValueError(f"{_expected(part.name, part.shape)}, found {_describe(value)}")
    return array


def _expected(name: str, shape: tuple[int, ...]) -> str:
    entry = f" at the entry '{name}'" if name else ""
    return f"expected an observation of numbers of shape {shape}{entry}"


def _describe(value: Any) -> str:
    """Return shape and type of an array, keys of a mapping, or type and beginning of anything else."""
    if isinstance(value, np.ndarray | np.generic):
        return f"shape {value.shape} of {value.dtype}"
    if isinstance(value, dict):
        return f"the entries {', '.join(repr(key) for key in list(value)[:8]) or '(none)'}"
    return f"{type(value).__name__} {foreign_text(value, repr)[:60]}".rstrip()


def foreign_text(value: object, show: Callable[[Any], str] = str) -> str:
    """Return the text of a foreign object, on one line; empty if the object's own method fails."""
    texts = [""]
    first_error(lambda: texts.append(" ".join(show(value).split())))
    return texts[-1]


def read_reward(value: Any) -> float:
    """Return a reward as a float.

    Args:
        value: A real number, or an array of one.

    Raises:
        UnexpectedValueError: anything else, such as None, a text or several rewards; or it is not finite.
    """
    if isinstance(value, float | int):  # np.float64 is a float
        reward = float(value)
    else:
        array = _one_value(value, _NUMERIC_KINDS)
        if array is None:
            raise UnexpectedValueError(f"expected one number as reward, found {_describe(value)}")
        reward = float(array.item())
    if not math.isfinite(reward):
        raise UnexpectedValueError(f"expected a finite reward, found {reward}")
    return reward


def read_flag(name: str, value: Any) -> bool:
    """Return a flag as a bool.

    Args:
        name: `terminated` or `truncated`.
        value: A bool, of NumPy too, or an array of one.

    Raises:
        UnexpectedValueError: anything else, such as None, an integer or several flags.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    array = _one_value(value, "b")
    if array is None:
        raise UnexpectedValueError(f"expected a bool as `{name}`, found {_describe(value)}")
    return bool(array.item())


def _one_value(value: Any, kinds: str) -> NDArray[Any] | None:
    """Return an array, or what has one, of exactly one value of some kinds; None for anything else."""
    if not hasattr(value, "__array__"):
        return None
    array = np.asarray(value)
    return array if array.size == 1 and array.dtype.kind in kinds else None


def check_vector(observation: Any, shape: tuple[int]) -> None:
    """Check that a simulator of a task suite returned a finite float32 vector of the specification's length.

    Raises:
        UnexpectedValueError: another type or shape, or an entry that is not finite.
    """
    if (
        type(observation) is not np.ndarray
        or observation.shape != shape
        or (observation.dtype is not _FLOAT32 and observation.dtype != _FLOAT32)
    ):
        raise UnexpectedValueError(
            f"expected an observation of shape {shape} of float32, found {_describe(observation)}"
        )
    if observation.size <= _MAX_PYTHON_SUM:
        is_finite = math.isfinite(sum(observation.tolist()))  # a float64 sum of float32 cannot overflow
    else:
        is_finite = bool(np.isfinite(observation).all())
    if not is_finite:
        raise UnexpectedValueError(
            f"expected a finite observation, found {first_bad(observation)}. The simulation diverged, or an "
            "option of the task is out of its range"
        )


def first_bad(values: FloatArray) -> str:
    """Return the first value that is not finite, with its index."""
    index = int(np.flatnonzero(~np.isfinite(values))[0])
    return f"{values[index]} at entry {index}"
