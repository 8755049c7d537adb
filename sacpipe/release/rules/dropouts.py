"""Release rule `dropouts`: the return when observations are missing."""

from typing import Any, Literal, Self

from pydantic import Field

from sacpipe.release.evidence import Perturbation
from sacpipe.release.rules.robustness import Robustness
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class Dropouts(Robustness):
    """Return with drop-outs."""

    name: Literal["dropouts"]
    probability: float = Field(gt=0, lt=1)
    """Probability that a step gets the previous observation again, with its old time stamp."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return super().preset(spec, budget) | {"probability": 0.05}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="dropouts", episodes=2, min_return=None, max_loss=10.0, probability=0.1)

    def perturbations(self) -> dict[str, Perturbation]:
        """Return the drop-outs."""
        label = f"with {100 * self.probability:.3g} % of observations missing"
        return {label: Perturbation(drop_out=self.probability)}
