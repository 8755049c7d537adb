"""Ranges and runs of unchanged values of a policy's terms in recorded observations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.runtime_settings import Envelope
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.records import FloatArray


class Range(NamedTuple):
    """Range of each float32 entry, packed. Shapes (vector_dim,)."""

    low: FloatArray
    high: FloatArray


def policy_observations(observations: Observation, spec: EnvSpec) -> Observation:
    """Return what a policy sees of observations of the whole task, as a view.

    Args:
        observations: Observations of the task or of its `policy_spec`.
        spec: The `policy_spec` of the task.
    """
    images = {term.name: observations.images[term.name] for term in spec.layout.image_terms}
    return Observation(spec.layout, observations.group("policy"), images)


def concatenated(parts: Sequence[Observation]) -> Observation:
    """Return observations of one layout, at least one part, one after the other."""
    images = {name: np.concatenate([part.images[name] for part in parts]) for name in parts[0].images}
    return Observation(parts[0].layout, np.concatenate([part.vector for part in parts]), images)


def policy_range(whole: Range, layout: ObservationLayout) -> Range:
    """Return the part of a whole task's range that the policy sees."""
    columns = layout.group_columns("policy")
    return Range(whole.low[columns], whole.high[columns])


class ConstantRuns:
    """Longest run of consecutive observations of one episode with equal values, for each term.

    A robot's guard compares a sensor that stays constant with it. The run is 1 for a term that changes at
    every step.
    """

    def __init__(self, layout: ObservationLayout) -> None:
        self._layout = layout
        self.longest = dict.fromkeys(layout.shapes, 1)
        """Longest run of each term so far, by name."""
        self._present = dict(self.longest)
        self._last: tuple[Observation, int] | None = None

    def add(self, observations: Observation, episode_ids: NDArray[np.int64]) -> None:
        """Add consecutive observations, which continue those before.

        Args:
            observations: N observations of the layout.
            episode_ids: Episode of each. Shape (N,).
        """
        num = len(episode_ids)
        if num == 0:
            return
        continues = np.zeros(num, bool)
        continues[1:] = episode_ids[1:] == episode_ids[:-1]
        for name, array in observations.items():
            same = continues.copy()
            rows = array.reshape(num, -1)
            same[1:] &= (rows[1:] == rows[:-1]).all(axis=1)
            if self._last is not None and self._last[1] == episode_ids[0]:
                same[0] = np.array_equal(self._last[0][name], array[0])
            self._extend(name, same)
        self._last = observations.rows(-1).copy(), int(episode_ids[-1])

    def _extend(self, name: str, same: NDArray[np.bool_]) -> None:
        """Extend the runs of one term by whether each observation equals the one before."""
        changes = np.flatnonzero(~same)
        first = changes[0] if len(changes) else len(same)
        runs = np.diff(np.append(changes, len(same)))
        before = self._present[name] + int(first) if first else 0
        self.longest[name] = max(self.longest[name], before, int(runs.max(initial=0)))
        self._present[name] = int(runs[-1]) if len(runs) and len(changes) else before


def envelope(spec: EnvSpec, seen: Range, longest_constant: dict[str, int]) -> Envelope:
    """Return the contract's section about the observations of the training.

    Args:
        spec: The policy's task.
        seen: Range of the policy's float32 terms.
        longest_constant: Longest run of equal values of each term, by name.
    """
    columns = {term.name: spec.layout.columns(term.name) for term in spec.layout.vector_terms}
    return Envelope(
        low={name: tuple(seen.low[place].tolist()) for name, place in columns.items()},
        high={name: tuple(seen.high[place].tolist()) for name, place in columns.items()},
        longest_constant=longest_constant,
    )
