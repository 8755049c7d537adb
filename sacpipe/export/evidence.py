"""What an export takes from the pool that a policy was trained on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.contract import Provenance
from sacpipe.bundle.runtime_settings import Envelope
from sacpipe.core.errors import ExportError
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.records import FloatArray

_RECORDED_OBSERVATIONS = 4096
"""Observations for the parity check, beside the golden sequence."""
_RECORDED_BYTES = 2**28
"""Largest size of their images."""


class Evidence(NamedTuple):
    """Observations of the training, and the origin of the network."""

    observations: Observation
    """N recorded observations of the policy's terms, from the first step of an episode on."""
    envelope: Envelope
    """Range of each float32 term in training, and the longest run of equal values of each term."""
    provenance: Provenance
    """Name of the algorithm, and digests of the policy and of its training data."""
    golden_actions: FloatArray | None = None
    """Actions of the golden sequence in task units, shape (golden_steps, action_dim); None for what
    onnxruntime computes on this processor."""


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


def envelope(spec: EnvSpec, low: FloatArray, high: FloatArray, longest_constant: dict[str, int]) -> Envelope:
    """Return the contract's section about the observations of the training.

    Args:
        spec: The policy's task.
        low: Lowest value of each float32 entry that the policy sees, packed. Shape (vector_dim,).
        high: Highest value of each. Shape (vector_dim,).
        longest_constant: Longest run of equal values of each term, by name.
    """
    columns = {term.name: spec.layout.columns(term.name) for term in spec.layout.vector_terms}
    return Envelope(
        low={name: tuple(low[place].tolist()) for name, place in columns.items()},
        high={name: tuple(high[place].tolist()) for name, place in columns.items()},
        longest_constant=longest_constant,
    )


def act_on(network: PolicyNetwork, spec: EnvSpec, observations: Observation) -> FloatArray:
    """Return the deterministic actions of single observations, in task units. Shape (N, action_dim)."""
    count = len(observations.vector)
    return np.stack([spec.to_task_units(network.act(observations.rows(row), None)) for row in range(count)])


def recorded_observations(pool: ReplayPool, golden_steps: int) -> Observation:
    """Return the pool's first `golden_steps` observations, then some spread over all.

    Raises:
        ExportError: the pool is shorter.
    """
    if pool.transitions < golden_steps:
        raise ExportError(
            f"export.golden_steps: expected at most the {pool.transitions} recorded steps of the pool, found "
            f"{golden_steps}. Lower it or train longer."
        )
    first: list[Observation] = []
    missing = golden_steps
    for segment in pool.segments:
        rows = pool.read(segment).observations.rows(slice(missing))
        first.append(rows)
        missing -= len(rows.vector)
        if missing == 0:
            break
    image_bytes = sum(term.size for term in pool.spec.layout.image_terms)
    limit = min(_RECORDED_OBSERVATIONS, max(1, _RECORDED_BYTES // max(image_bytes, 1)))
    return concatenated([*first, pool.observations(limit)])


def gather_evidence(pool: ReplayPool, spec: EnvSpec, golden_steps: int, provenance: Provenance) -> Evidence:
    """Return what an export needs to know of the training.

    Args:
        pool: The pool that the policy was trained on.
        spec: The policy's task.
        golden_steps: Length of the golden sequence.
        provenance: Origin of the policy.

    Raises:
        ExportError: the pool is shorter than the golden sequence.
    """
    runs = ConstantRuns(spec.layout)
    for segment in pool.segments:
        part = pool.read(segment)
        runs.add(policy_observations(part.observations, spec), part.episode_ids)
    seen = pool.spec.layout.group_columns("policy")
    low, high = (limit[seen] for limit in pool.observation_range())
    recorded = policy_observations(recorded_observations(pool, golden_steps), spec)
    return Evidence(recorded, envelope(spec, low, high, runs.longest), provenance)
