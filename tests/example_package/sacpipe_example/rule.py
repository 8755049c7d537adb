"""A release rule: the least return of some episodes has a floor, because one fall breaks the robot."""

from typing import Any, Literal, Self

from pydantic import Field

from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import RETURN, Rule
from sacpipe.release.verdict import Finding


class NoFall(Rule):
    """Lowest return of an episode."""

    name: Literal["no_fall"]
    episodes: int = Field(ge=1)
    """Number of episodes."""
    min_return: float
    """Lowest allowed return, in task units."""

    @classmethod
    def preset(cls, _spec: Any, _budget: Any) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {"episodes": 10, "min_return": 0.0}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests."""
        return cls(name="no_fall", episodes=4, min_return=0.0)

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the worst episode."""
        return self.at_least(
            float(evidence.candidate.returns(self.episodes).min()),
            self.min_return,
            what="lowest return",
            unit=RETURN,
            advice="Train longer, or start the episodes of the training where it falls.",
        )
