"""Release rule `worst_case`: a low quantile of the returns, against a number and against the champion's.

A mean hides rare falls. How rare they may be is a matter of the number of episodes: a fall of 1 in 20
episodes is missing in 60 episodes with a probability of 4.6 %, and one of 1 in 100 with 55 %.
"""

import math
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from sacpipe.release.evidence import Evidence, Scored
from sacpipe.release.rules.rule import (
    RETURN,
    Rule,
    below_champion,
    in_params,
    in_words,
    not_finite,
    why_no_floor,
)
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_DEFAULT_EPISODES = 60
_DEFAULT_QUANTILE = 0.05
_SHOWN = 3
"""Number of low episodes that the advice names."""


class WorstCase(Rule):
    """Low quantile of the returns. Of two thresholds the higher one counts.

    In params.yaml: `{name: worst_case, quantile: 0.05, min_return: 8000.0, max_loss: null, episodes: 60}`.
    """

    name: Literal["worst_case"]
    quantile: float = Field(gt=0, le=0.5)
    """Share of the episodes whose returns are at most the compared one: 0.05 of 60 is the third lowest."""
    min_return: float | None
    """Lowest return at the quantile, in task units; null for none."""
    max_loss: float | None = Field(ge=0)
    """How much lower than the champion's the return may be, in task units; null for any."""
    episodes: int = Field(ge=1, le=1000)
    """Episodes of either policy."""

    @classmethod
    def preset(cls, _spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: the champion is the measure."""
        known = budget.min_return_mean
        return {
            "quantile": _DEFAULT_QUANTILE,
            "min_return": None,
            "max_loss": None if known is None else 0.05 * abs(known),
            "episodes": _DEFAULT_EPISODES,
        }

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="worst_case", quantile=0.25, min_return=5.0, max_loss=1.0, episodes=4)

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the return at the quantile."""
        floor, why = self._floor(evidence)
        return self.at_least(
            self._low_return(evidence.candidate),
            floor,
            what=f"the lowest {100 * self.quantile:g} % of {self.episodes} returns are at most",
            unit=RETURN,
            why=why,
            advice=f"Lowest: {self._lowest(evidence.candidate)}. Train longer or with another seed, or "
            f"{in_params('set a lower `min_return` or a larger `max_loss`')}.",
        ).replace(episodes=self.episodes)

    def _floor(self, evidence: Evidence) -> tuple[float | None, str]:
        """Return the higher one of the two floors, and where it comes from."""
        champion = evidence.champion
        floors = [] if self.min_return is None else [(self.min_return, "min_return")]
        if self.max_loss is not None and champion is not None:
            low = self._low_return(champion)
            if not math.isfinite(low):
                return self.min_return, not_finite(low, self.min_return)
            floors.append(below_champion(low, self.max_loss))
        return max(floors, default=(None, why_no_floor(evidence, self.max_loss)))

    def _lowest(self, scored: Scored) -> str:
        """Return the lowest returns and the numbers of their seeds, in words."""
        returns = scored.returns(self.episodes)
        worst = np.argsort(returns, kind="stable")[:_SHOWN]
        return ", ".join(f"{in_words(float(returns[seed]), RETURN)} (seed {seed})" for seed in worst)

    def _low_return(self, scored: Scored) -> float:
        """Return the highest of the lowest returns that make up the share: one return, no mean of two."""
        returns = np.sort(scored.returns(self.episodes))
        if not np.isfinite(returns).all():
            return math.nan
        return float(returns[math.ceil(self.quantile * len(returns) - 1e-9) - 1])
