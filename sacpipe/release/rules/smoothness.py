"""Release rule `smoothness`: how much executed actions change from step to step."""

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import SHARE, Rule
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class Smoothness(Rule):
    """Mean change of the executed action per step."""

    name: Literal["smoothness"]
    episodes: int = Field(ge=1, le=1000)
    """Episodes whose actions are read."""
    max_change: float = Field(gt=0, le=1)
    """Largest mean absolute change of an entry per step, as a share of its range."""

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return values for a params.yaml."""
        return {"episodes": 5, "max_change": 0.1}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="smoothness", episodes=2, max_change=0.1)

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the mean over steps and entries."""
        spec = evidence.spec
        ranges = spec.action_high.astype(np.float64) - spec.action_low
        changes = [
            np.abs(np.diff(actions.astype(np.float64), axis=0)) / ranges
            for actions in evidence.candidate.actions(self.episodes)
        ]
        every = np.concatenate(changes)
        if not len(every):
            return self.holds("no episode has a second step")
        return self.at_most(
            float(every.mean()),
            self.max_change,
            what="mean change of an action per step {} of its range",
            unit=SHARE,
            advice="Add a cost of changes to the reward, or limit changes by the guard `action_change` in "
            "runtime.guards of params.yaml and `sacpipe run`.",
        )
