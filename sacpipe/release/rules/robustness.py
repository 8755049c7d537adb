"""What the robustness rules share: mean return under a perturbation, against a floor and the champion's.

Returns may be negative, so that a share of one says nothing: both thresholds are in task units.
"""

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from sacpipe.release.evidence import Evidence, Perturbation
from sacpipe.release.rules.rule import (
    RETURN,
    Rule,
    below_champion,
    in_params,
    in_words,
    not_finite,
    of_episodes,
    why_no_floor,
)
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_DEFAULT_EPISODES = 5
_DEFAULT_LOSS = 0.05
"""Largest loss in a new params.yaml, as a share of the task's minimum return."""


class _Trial(NamedTuple):
    """Mean return under one perturbation."""

    label: str
    mean: float
    floor: float | None
    why: str
    """Where the floor comes from."""

    @property
    def slack(self) -> float:
        """Distance to the floor: lowest for a figure that is not finite, highest without a floor."""
        if not math.isfinite(self.mean):
            return -math.inf
        return math.inf if self.floor is None else self.mean - self.floor


class Robustness(Rule):
    """A rule that perturbs episodes. The worst perturbation decides."""

    name: str
    episodes: int = Field(ge=1, le=1000)
    """Episodes of each perturbation."""
    min_return: float | None
    """Lowest mean return under it, in task units; null for none."""
    max_loss: float | None = Field(ge=0)
    """Largest loss against the champion under the same perturbation, in task units; null for none."""

    @abstractmethod
    def perturbations(self) -> dict[str, Perturbation]:
        """Return what is tried, by its name in words."""

    @classmethod
    def preset(cls, _spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: the champion is the measure."""
        known = budget.min_return_mean
        loss = None if known is None else _DEFAULT_LOSS * abs(known)
        return {"episodes": _DEFAULT_EPISODES, "min_return": None, "max_loss": loss}

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the worst perturbation."""
        trials = [self._trial(evidence, label, one) for label, one in self.perturbations().items()]
        known = [trial for trial in trials if trial is not None]
        if not known:
            return self.holds(
                f"does not apply: {evidence.spec.task} has no MuJoCo model whose {self.name} could be changed"
            )
        worst = min(known, key=lambda trial: (trial.slack, trial.mean))
        nominal = float(evidence.candidate.returns(self.episodes).mean())
        without = in_words(nominal, RETURN)
        change = in_params(f"set another threshold of `{self.name}`")
        return self.at_least(
            worst.mean,
            worst.floor,
            what=f"mean return {{}} {worst.label} ({of_episodes(self.episodes)}; without it {without})",
            unit=RETURN,
            why=worst.why,
            advice=f"Train longer or with another seed, or {change}.",
        ).replace(episodes=self.episodes)

    def _trial(self, evidence: Evidence, label: str, perturbation: Perturbation) -> _Trial | None:
        mean = _mean(evidence.candidate.perturbed(perturbation, self.episodes))
        if mean is None:
            return None
        floors = [] if self.min_return is None else [(self.min_return, "min_return")]
        if self.max_loss is not None and evidence.champion is not None:
            champion = _mean(evidence.champion.perturbed(perturbation, self.episodes))
            if champion is not None and not math.isfinite(champion):
                return _Trial(label, mean, self.min_return, not_finite(champion, self.min_return))
            if champion is not None:
                floors.append(below_champion(champion, self.max_loss))
        floor, why = max(floors, default=(None, why_no_floor(evidence, self.max_loss)))
        return _Trial(label, mean, floor, why)


def _mean(episodes: Any) -> float | None:
    if episodes is None:
        return None
    return float(np.mean([episode.episode_return for episode in episodes]))
