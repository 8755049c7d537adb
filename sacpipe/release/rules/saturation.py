"""Release rule `saturation`: how often an executed action is at a bound."""

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import SHARE, Rule
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_AT_A_BOUND = 1e-3
"""Distance to a bound below which an entry counts as at it, as a share of its range."""


class Saturation(Rule):
    """Share of steps with an entry of the executed action at a bound."""

    name: Literal["saturation"]
    episodes: int = Field(ge=1, le=1000)
    """Episodes whose actions are read."""
    max_share: float = Field(ge=0, le=1)
    """Largest share of steps."""

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return values for a params.yaml."""
        return {"episodes": 5, "max_share": 0.5}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="saturation", episodes=2, max_share=0.5)

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the share over all steps."""
        spec = evidence.spec
        low, high = spec.action_low.astype(np.float64), spec.action_high.astype(np.float64)
        actions = np.concatenate(evidence.candidate.actions(self.episodes)).astype(np.float64)
        distance = np.minimum(actions - low, high - actions) / (high - low)
        return self.at_most(
            float((distance < _AT_A_BOUND).any(axis=1).mean()),
            self.max_share,
            what="share of steps with an action at a bound",
            unit=SHARE,
            advice="Widen the bounds, or add a cost of large actions to the reward.",
        )
