"""Checks of the single values that a task returns: rewards, flags and named entries of `info`.

NumPy would parse a text as a number, and take any object for a flag.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.fence import first_error
from sacpipe.specs.records import FloatArray

NUMERIC_KINDS = "fiub"
"""NumPy's letters of floats, signed and unsigned integers, and bools."""
_MAX_SHOWN = 20
"""Maximum number of a mapping's keys in a message."""


class UnexpectedValueError(ValueError):
    """A task returned a value that its specification excludes; the message has expected and found."""


def follow(what: str, value: Any, path: Sequence[Any]) -> Any:
    """Return the entry of nested mappings to which a path of keys leads.

    Args:
        what: What the mapping is, for the message.
        value: The outermost mapping.
        path: Keys, from the outermost.

    Raises:
        UnexpectedValueError: an entry is missing.
    """
    found = value
    for depth, key in enumerate(path):
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError) as exc:
            name = "/".join(map(str, path[: depth + 1]))
            raise UnexpectedValueError(
                f"expected {what} with the entry '{name}', found {describe(value)}"
            ) from exc
    return found


def describe(value: Any) -> str:
    """Return shape and type of an array, keys of a mapping, or type and beginning of anything else."""
    if isinstance(value, np.ndarray | np.generic):
        return f"shape {value.shape} of {value.dtype}"
    if isinstance(value, dict):
        return f"the entries {', '.join(repr(key) for key in list(value)[:_MAX_SHOWN]) or '(none)'}"
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
    return read_number("as reward", "reward", value)


def read_number(place: str, kind: str, value: Any) -> float:
    """Return a finite number as a float.

    Args:
        place: Where the number is expected, e.g. `as reward`, for the message.
        kind: Noun for the message.
        value: A real number, a bool, or an array of one.

    Raises:
        UnexpectedValueError: anything else, or it is not finite.
    """
    if isinstance(value, float | int):  # np.float64 is a float
        number = float(value)
    else:
        array = _one_value(value, NUMERIC_KINDS)
        if array is None:
            raise UnexpectedValueError(f"expected one number {place}, found {describe(value)}")
        number = float(array.item())
    if not math.isfinite(number):
        raise UnexpectedValueError(f"expected a finite {kind}, found {number}")
    return number


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
        raise UnexpectedValueError(f"expected a bool as `{name}`, found {describe(value)}")
    return bool(array.item())


def _one_value(value: Any, kinds: str) -> NDArray[Any] | None:
    """Return an array, or what has one, of exactly one value of some kinds; None for anything else."""
    if not hasattr(value, "__array__"):
        return None
    array = np.asarray(value)
    return array if array.size == 1 and array.dtype.kind in kinds else None


def first_bad(values: FloatArray) -> str:
    """Return the first value that is not finite, with its index."""
    index = int(np.flatnonzero(~np.isfinite(values))[0])
    return f"{values[index]} at entry {index}"
