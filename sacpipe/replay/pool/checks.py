"""Checks of a pool's transitions: shapes, values, and the order of steps and episodes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import PoolCorruptError
from sacpipe.replay.pool.repeats import differ
from sacpipe.replay.pool.segments import RESTORE
from sacpipe.replay.pool.transitions import FieldSpec, Transitions

_Faults = NDArray[np.bool_]


def check_shapes(transitions: Transitions, fields: tuple[FieldSpec, ...], rows: int, where: str) -> None:
    """Compare shape and type of every array with its field.

    Raises:
        PoolCorruptError: an array differs. The message has the field, and shape and type expected and found.
    """
    arrays = transitions.arrays()
    for field in fields:
        array = arrays[field.name]
        expected = f"{field.dtype}{(rows, *field.shape)}"
        found = f"{array.dtype}{array.shape}"
        if found != expected:
            raise PoolCorruptError(f"{where}: expected {field.name} as {expected}, found {found}. {RESTORE}.")


def check_values(transitions: Transitions, first_step: int, where: str) -> None:
    """Check that every value is allowed.

    Raises:
        PoolCorruptError: a number is not finite, a flag is neither 0 nor 1, or an action is outside [-1, 1].
    """
    arrays = transitions.arrays()
    numbers = [name for name, array in arrays.items() if array.dtype == np.float32]
    rules: list[tuple[str, str, Callable[[NDArray[Any]], _Faults]]] = [
        *((name, "finite numbers", lambda array: ~np.isfinite(array)) for name in numbers),
        ("terminations", "0 or 1", _is_no_flag),
        ("truncations", "0 or 1", _is_no_flag),
        ("actions", "values in [-1, 1]", lambda array: np.abs(array) > 1.0),
    ]
    for name, expected, faults_in in rules:
        array = arrays[name]
        faults = faults_in(array)
        if faults.any():
            place = np.argwhere(faults)[0]
            found, step = array[tuple(place)], first_step + place[0]
            raise PoolCorruptError(
                f"{where}: expected {expected} in {name}, found {found} at step {step}. {RESTORE}."
            )


def check_order(transitions: Transitions, first_step: int, where: str) -> None:
    """Check the order of steps and episodes from row to row.

    Raises:
        PoolCorruptError: episode ids fall, an episode continues after its end, or a step does not begin
            with the next observation of the step before.
    """
    ids = transitions.episode_ids
    same = ids[1:] == ids[:-1]
    ended = (transitions.terminations[:-1] > 0) | (transitions.truncations[:-1] > 0)
    after, before = transitions.next_observations, transitions.observations
    jumps = differ(after.vector[:-1], before.vector[1:])
    for name, image in before.images.items():
        jumps |= differ(after.images[name][:-1], image[1:])
    rules: list[tuple[str, str, _Faults]] = [
        ("episode ids that never fall", "a lower one", ids[1:] < ids[:-1]),
        ("a new episode id after an end", "the same one", same & ended),
        ("the next observation of the step before", "another observation", same & jumps),
    ]
    for expected, found, faults in rules:
        if faults.any():
            step = first_step + 1 + int(np.argmax(faults))
            raise PoolCorruptError(f"{where}: expected {expected}, found {found} at step {step}. {RESTORE}.")


def _is_no_flag(array: NDArray[Any]) -> _Faults:
    return ~np.isin(array, (0, 1))
