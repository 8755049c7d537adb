"""Release rule `floor`: the mean return, against a number."""

from typing import Any, Literal, Self

from pydantic import Field

from sacpipe.evaluation.config import DEFAULT_EPISODES
from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import RETURN, Rule, in_params, of_episodes
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class Floor(Rule):
    """Mean return of the candidate, whatever the champion's is.

    In params.yaml: `{name: floor, min_return_mean: 9300.0, episodes: 20}`.
    """

    name: Literal["floor"]
    min_return_mean: float | None
    """Lowest mean return, in task units; null for none."""
    episodes: int = Field(ge=1, le=1000)
    """Episodes of the mean."""

    @classmethod
    def preset(cls, _spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: the floor of tasks with a published result."""
        return {"min_return_mean": budget.min_return_mean, "episodes": DEFAULT_EPISODES}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="floor", min_return_mean=10.0, episodes=4)

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the mean return of the first episodes."""
        mean = float(evidence.candidate.returns(self.episodes).mean())
        return self.at_least(
            mean,
            self.min_return_mean,
            what=f"mean return {{}} ({of_episodes(self.episodes)})",
            unit=RETURN,
            advice=f"Train longer or with another seed, or {in_params('set a lower `min_return_mean`')}.",
        ).replace(episodes=self.episodes)
