"""Evidence for the contract test of release rules: two policies with given episodes, without a simulator."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.contract import Contract
from sacpipe.evaluation.episodes import Episode
from sacpipe.export.config import ExportMetrics
from sacpipe.release.evidence import Evidence, Perturbation
from sacpipe.specs.records import FloatArray
from sacpipe.testing.guard_contract import example_contract, example_spec

_LENGTH = 20
_STEP_S = 1e-4


@dataclass(frozen=True)
class GivenScored:
    """One policy with given returns, which repeat when more episodes are asked for than there are."""

    nominal: tuple[float, ...]
    """Returns of the episodes."""
    contract: Contract
    bundle_digest: str = "a" * 64
    loss: float = 0.0
    """What any perturbation costs, in task units."""
    has_model: bool = True
    """Whether mass and friction can be changed."""
    amplitude: float = 0.5
    """Executed actions alternate between this share of the range below and above the middle."""
    step_s: float = _STEP_S
    """Duration of a step, in seconds."""

    def episodes(self, n: int) -> tuple[Episode, ...]:
        """Return `n` episodes."""
        return tuple(self._episode(index, 0.0) for index in range(n))

    def returns(self, n: int) -> NDArray[np.float64]:
        """Return their returns."""
        return np.array([episode.episode_return for episode in self.episodes(n)], dtype=np.float64)

    def actions(self, n: int) -> tuple[FloatArray, ...]:
        """Return their actions."""
        low, high = self.contract.spec.action_low, self.contract.spec.action_high
        sign = np.where(np.arange(_LENGTH) % 2, 1.0, -1.0)[:, None]
        actions = (low + high) / 2 + sign * np.float32(self.amplitude / 2) * (high - low)
        return (actions.astype(np.float32),) * n

    def perturbed(self, perturbation: Perturbation, n: int) -> tuple[Episode, ...] | None:
        """Return `n` perturbed episodes."""
        if perturbation.changes_physics and not self.has_model:
            return None
        return tuple(self._episode(index, self.loss) for index in range(n))

    def latency(self) -> NDArray[np.float64]:
        """Return equal durations."""
        return np.full(1000, self.step_s)

    def _episode(self, index: int, loss: float) -> Episode:
        value = self.nominal[index % len(self.nominal)] - loss
        return Episode(index, value, _LENGTH, terminated=False, truncated=True)


def given_evidence(
    candidate: tuple[float, ...] = (10.0, 11.0, 12.0, 11.0), champion: tuple[float, ...] | None = None
) -> Evidence:
    """Return evidence of policies with these returns, on a small task; everything else holds.

    Args:
        candidate: Returns of the candidate.
        champion: Returns of the champion; None for none.
    """
    contract = example_contract(example_spec(), ())
    scored = GivenScored(candidate, contract)
    parity = ExportMetrics(
        bundle_digest=scored.bundle_digest,
        parity_tolerance=1e-4,
        parity_max_error=1e-6,
        parity_max_error_synthetic=1e-6,
        parity_observations=100,
    )
    return Evidence(
        spec=contract.spec,
        candidate=scored,
        champion=None if champion is None else replace(scored, nominal=champion, bundle_digest="b" * 64),
        parity=parity,
        golden_error=1e-7,
        lineage_faults=(),
    )
