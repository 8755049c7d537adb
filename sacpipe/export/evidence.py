"""What an export takes from the pool that a policy was trained on."""

from typing import NamedTuple

import numpy as np

from sacpipe.bundle.contract import Provenance
from sacpipe.bundle.runtime_settings import Envelope
from sacpipe.core.errors import ExportError
from sacpipe.export.recorded import (
    ConstantRuns,
    Range,
    concatenated,
    envelope,
    policy_observations,
    policy_range,
)
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
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
    seen = policy_range(Range(*pool.observation_range()), pool.spec.layout)
    recorded = policy_observations(recorded_observations(pool, golden_steps), spec)
    return Evidence(recorded, envelope(spec, seen, runs.longest), provenance)
