"""Transitions as arrays, and the name, type and shape of each field in the files of a pool."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.config import Config
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout, stacked
from sacpipe.specs.records import FloatArray, Transition

Rows = NDArray[np.int64]
Records = NDArray[np.void]
Arrays = Mapping[str, NDArray[Any]]
"""Arrays of a pool's fields, by name."""

OBSERVATIONS, NEXT_OBSERVATIONS = "observations", "next_observations"
_SCALARS = ("actions", "rewards", "terminations", "truncations", "episode_ids")


class FieldSpec(Config):
    """One field of a transition on disk."""

    name: str
    dtype: Literal["float32", "int64", "uint8"]
    shape: tuple[int, ...]
    """Shape of one row; () for a single number."""


def image_field(field: str, term: str) -> str:
    """Return the name of the field that has one image term of `observations` or `next_observations`."""
    return f"{field}/{term}"


@dataclass(frozen=True)
class Transitions:
    """N transitions in the order of recording."""

    observations: Observation
    """N observations before the steps."""
    actions: FloatArray
    """In [-1, 1]. Shape (N, action_dim)."""
    rewards: FloatArray
    """In task units. Shape (N,)."""
    next_observations: Observation
    """N observations after the steps, before any reset."""
    terminations: FloatArray
    """1.0 where the task itself ended, else 0.0. Shape (N,)."""
    truncations: FloatArray
    """1.0 where a time limit ended the episode, else 0.0. Shape (N,)."""
    episode_ids: NDArray[np.int64]
    """One number for each episode, never falling. Shape (N,)."""

    def __len__(self) -> int:
        return len(self.rewards)

    def __getitem__(self, rows: slice | NDArray[Any]) -> "Transitions":
        return Transitions(
            self.observations.rows(rows),
            self.actions[rows],
            self.rewards[rows],
            self.next_observations.rows(rows),
            self.terminations[rows],
            self.truncations[rows],
            self.episode_ids[rows],
        )

    def each(self) -> Iterator[Transition]:
        """Yield the transitions one by one, as views."""
        for row in range(len(self)):
            yield Transition(
                self.observations.rows(row),
                self.actions[row],
                float(self.rewards[row]),
                self.next_observations.rows(row),
                bool(self.terminations[row] > 0),
                bool(self.truncations[row] > 0),
                int(self.episode_ids[row]),
            )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays, without copies, under the names of `field_specs`."""
        found: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _SCALARS}
        for field, observation in (
            (OBSERVATIONS, self.observations),
            (NEXT_OBSERVATIONS, self.next_observations),
        ):
            found[field] = observation.vector
            found |= {image_field(field, term): image for term, image in observation.images.items()}
        return found

    @classmethod
    def of_arrays(cls, layout: ObservationLayout, arrays: Arrays) -> Self:
        """Return transitions of the arrays that `arrays` names, without copies."""

        def observation(field: str) -> Observation:
            images = {term.name: arrays[image_field(field, term.name)] for term in layout.image_terms}
            return Observation(layout, arrays[field], images)

        return cls(
            observations=observation(OBSERVATIONS),
            next_observations=observation(NEXT_OBSERVATIONS),
            **{name: arrays[name] for name in _SCALARS},
        )

    @classmethod
    def of_steps(cls, steps: Sequence[Transition]) -> Self:
        """Return copies of transitions, at least one, as arrays."""
        scalars = ((step.reward, step.terminated, step.truncated) for step in steps)
        rewards, terminations, truncations = np.array([*scalars], dtype=np.float32).T
        return cls(
            stacked([step.observation for step in steps]),
            np.stack([step.action for step in steps]),
            np.ascontiguousarray(rewards),
            stacked([step.next_observation for step in steps]),
            np.ascontiguousarray(terminations),
            np.ascontiguousarray(truncations),
            np.array([step.episode_id for step in steps], dtype=np.int64),
        )

    @classmethod
    def of_records(cls, layout: ObservationLayout, records: Records) -> Self:
        """Copy packed records of `record_dtype` into contiguous arrays."""
        names = records.dtype.names or ()
        return cls.of_arrays(layout, {name: np.ascontiguousarray(records[name]) for name in names})

    @classmethod
    def joined(cls, parts: Iterable["Transitions"]) -> Self:
        """Concatenate parts, at least one, of one task."""
        found = list(parts)
        columns = [part.arrays() for part in found]
        joined = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
        return cls.of_arrays(found[0].observations.layout, joined)


def field_specs(spec: EnvSpec) -> tuple[FieldSpec, ...]:
    """Return the fields of a task's transitions, in the order of a journal's records.

    The float32 fields are first and adjacent, images last.
    """
    vector = (spec.layout.vector_dim,)
    numbers = (
        FieldSpec(name=OBSERVATIONS, dtype="float32", shape=vector),
        FieldSpec(name="actions", dtype="float32", shape=(spec.action_dim,)),
        FieldSpec(name=NEXT_OBSERVATIONS, dtype="float32", shape=vector),
        FieldSpec(name="rewards", dtype="float32", shape=()),
        FieldSpec(name="terminations", dtype="float32", shape=()),
        FieldSpec(name="truncations", dtype="float32", shape=()),
        FieldSpec(name="episode_ids", dtype="int64", shape=()),
    )
    images = (
        FieldSpec(name=image_field(field, term.name), dtype="uint8", shape=term.shape)
        for field in (OBSERVATIONS, NEXT_OBSERVATIONS)
        for term in spec.layout.image_terms
    )
    return (*numbers, *images)


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


def kept_rows(transitions: Transitions) -> Rows:
    """Return the rows whose next vector must be stored: the following row does not repeat its bits.

    The rows that end an episode, and the last row, are always among them.
    """
    after, before = transitions.next_observations.vector, transitions.observations.vector
    return _kept(transitions, differ(_bits(after[:-1]), _bits(before[1:])))


def kept_image_rows(transitions: Transitions) -> Rows:
    """Return the rows whose next images must be stored: the following row does not repeat all of them.

    The rows that end an episode, and the last row, are always among them.
    """
    keep = np.zeros(len(transitions) - 1, dtype=np.bool_)
    for name, image in transitions.observations.images.items():
        keep |= differ(transitions.next_observations.images[name][:-1], image[1:])
    return _kept(transitions, keep)


def differ(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each row whether any value of it differs. Shape (N,)."""
    if left.dtype == np.uint8:  # a mask of all pixels would take as much memory as the images
        pairs = zip(left, right, strict=True)
        return np.fromiter((not np.array_equal(*pair) for pair in pairs), dtype=np.bool_, count=len(left))
    different: NDArray[np.bool_] = (left != right).any(axis=1)
    return different


def _kept(transitions: Transitions, is_new: NDArray[np.bool_]) -> Rows:
    keep = (transitions.terminations > 0) | (transitions.truncations > 0)
    keep[-1] = True
    keep[:-1] |= is_new
    return np.flatnonzero(keep).astype(np.int64)


def _bits(vectors: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(vectors).view(np.uint32)
