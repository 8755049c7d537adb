"""Release rule `mass`: the return when the robot's mass differs from the simulated one's."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from sacpipe.release.evidence import Perturbation
from sacpipe.release.rules.robustness import Robustness
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class Mass(Robustness):
    """Return at other mass."""

    name: Literal["mass"]
    factors: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(min_length=1, max_length=10)
    """Factors of the mass and inertia of every body; the worst decides."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return super().preset(spec, budget) | {"factors": [0.9, 1.1]}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="mass", episodes=2, min_return=None, max_loss=10.0, factors=(0.9, 1.1))

    def perturbations(self) -> dict[str, Perturbation]:
        """Return each factor."""
        return {f"with mass times {factor:g}": Perturbation(mass=factor) for factor in self.factors}
