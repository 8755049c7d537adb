"""What a rule of the release gate may know: episodes of candidate and champion, contracts, parity, lineage.

Episodes are run when a rule asks for them, and kept: a second rule that asks gets the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.contract import Contract
from sacpipe.evaluation.episodes import Episode
from sacpipe.export.config import ExportMetrics
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray


@dataclass(frozen=True)
class Perturbation:
    """What is changed in an episode; the defaults change nothing.

    Candidate and champion get the same draws: they come from the number of the episode, and noise is a share
    of the candidate's ranges for both.
    """

    noise: float = 0.0
    """Standard deviation of the observation noise, as a share of each entry's range in training."""
    drop_out: float = 0.0
    """Probability that a step gets the previous observation again, with its old time stamp."""
    delay_periods: int = 0
    """Control periods between an observation and its arrival."""
    mass: float = 1.0
    """Factor of the mass and inertia of every body of the MuJoCo model."""
    friction: float = 1.0
    """Factor of the friction of every contact, joint and tendon of the MuJoCo model."""

    @property
    def changes_physics(self) -> bool:
        """Whether it needs a MuJoCo model."""
        return (self.mass, self.friction) != (1.0, 1.0)


NOMINAL = Perturbation()
"""No perturbation."""


class Scored(Protocol):
    """One policy, scored by the robot's own runtime on the release's seeds."""

    @property
    def bundle_digest(self) -> str:
        """Digest of the bundle."""
        ...

    @property
    def contract(self) -> Contract:
        """Contract of the bundle."""
        ...

    def episodes(self, n: int) -> tuple[Episode, ...]:
        """Return the episodes of the first `n` seeds, unperturbed."""
        ...

    def returns(self, n: int) -> NDArray[np.float64]:
        """Return the undiscounted returns of these episodes, in task units. Shape (n,)."""
        ...

    def actions(self, n: int) -> tuple[FloatArray, ...]:
        """Return the executed actions of these episodes, in task units; of each (length, action_dim)."""
        ...

    def perturbed(self, perturbation: Perturbation, n: int) -> tuple[Episode, ...] | None:
        """Return perturbed episodes of the first `n` seeds.

        None where the task has no MuJoCo model, so that mass and friction cannot be changed.
        """
        ...

    def latency(self) -> NDArray[np.float64]:
        """Return durations of single steps of the runtime on this machine, in seconds. Shape (steps,)."""
        ...


@dataclass(frozen=True)
class Evidence:
    """What the rules judge."""

    spec: EnvSpec
    """The task."""
    candidate: Scored
    champion: Scored | None
    """None where the model has no champion, or where the candidate is the champion."""
    parity: ExportMetrics | None
    """Differences of torch and ONNX that the export stage found; None where they are not recorded."""
    golden_error: float
    """Largest difference from the golden actions on this machine, as a share of the action's range."""
    lineage_faults: Sequence[str]
    """Edges of the candidate's lineage that do not hold, in words."""
    is_champion: bool = False
    """Whether the candidate is the champion, which is then not compared with itself."""

    @property
    def why_alone(self) -> str:
        """Why there is no champion to compare with, in words."""
        return "the candidate is the champion" if self.is_champion else "there is no champion"
