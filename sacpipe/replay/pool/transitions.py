"""Transitions as arrays, and the name, type and shape of each field in the files of a pool."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.config import Config
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

Records = NDArray[np.void]


class FieldSpec(Config):
    """One field of a transition on disk."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[int, ...]
    """Shape of one row; () for a single number."""


@dataclass(frozen=True)
class Transitions:
    """N transitions in the order of recording. The names are those of the tensors in a segment."""

    observations: FloatArray
    """Shape (N, observation_dim)."""
    actions: FloatArray
    """In [-1, 1]. Shape (N, action_dim)."""
    rewards: FloatArray
    """In task units. Shape (N,)."""
    next_observations: FloatArray
    """Shape (N, observation_dim)."""
    terminations: FloatArray
    """1.0 where the task itself ended, else 0.0. Shape (N,)."""
    truncations: FloatArray
    """1.0 where a time limit ended the episode, else 0.0. Shape (N,)."""
    episode_ids: NDArray[np.int64]
    """One number for each episode, never falling. Shape (N,)."""

    def __len__(self) -> int:
        return len(self.rewards)

    def __getitem__(self, rows: slice | NDArray[Any]) -> "Transitions":
        return Transitions(**{name: getattr(self, name)[rows] for name in FIELD_NAMES})

    @classmethod
    def of_records(cls, records: Records) -> Self:
        """Copy packed records into contiguous arrays."""
        return cls(**{name: np.ascontiguousarray(records[name]) for name in FIELD_NAMES})

    @classmethod
    def joined(cls, parts: Iterable["Transitions"]) -> Self:
        """Concatenate parts, at least one."""
        columns = zip(*([getattr(part, name) for name in FIELD_NAMES] for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


FIELD_NAMES = tuple(Transitions.__dataclass_fields__)


def field_specs(spec: EnvSpec) -> tuple[FieldSpec, ...]:
    """Return the fields of a task's transitions, in the order of `Transitions`."""
    wide = {
        "observations": (spec.observation_dim,),
        "actions": (spec.action_dim,),
        "next_observations": (spec.observation_dim,),
    }
    return tuple(
        FieldSpec(name=name, dtype="int64" if name == "episode_ids" else "float32", shape=wide.get(name, ()))
        for name in FIELD_NAMES
    )


def record_dtype(spec: EnvSpec) -> np.dtype[np.void]:
    """Return the type of a journal's records: all fields of one transition, little-endian, without gaps."""
    return np.dtype(
        [(field.name, np.dtype(field.dtype).newbyteorder("<"), field.shape) for field in field_specs(spec)]
    )


class TransitionSink(Protocol):
    """Target that a pool is read into, such as a replay buffer."""

    def load(self, parts: Sequence[tuple[int, Callable[[], Transitions]]]) -> None:
        """Add parts in order, each given by its length and a reader; a part may be skipped unread."""
        ...
