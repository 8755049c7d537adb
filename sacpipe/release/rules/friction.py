"""Release rule `friction`: the return when the robot's friction differs from the simulated one's."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from sacpipe.release.evidence import Perturbation
from sacpipe.release.rules.robustness import Robustness
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class Friction(Robustness):
    """Return at other friction."""

    name: Literal["friction"]
    factors: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(min_length=1, max_length=10)
    """Factors of the friction of contacts, joints and tendons; the worst decides."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return super().preset(spec, budget) | {"factors": [0.5, 2.0]}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="friction", episodes=2, min_return=None, max_loss=10.0, factors=(0.9, 1.1))

    def perturbations(self) -> dict[str, Perturbation]:
        """Return each factor."""
        return {f"with friction times {factor:g}": Perturbation(friction=factor) for factor in self.factors}
