"""Release rule `observation_noise`: the return when sensors are noisy."""

from typing import Any, Literal, Self

from pydantic import Field

from sacpipe.release.evidence import Perturbation
from sacpipe.release.rules.robustness import Robustness
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class ObservationNoise(Robustness):
    """Return under noise."""

    name: Literal["observation_noise"]
    deviation: float = Field(gt=0, le=1)
    """Standard deviation of the noise, as a share of each entry's range in training."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return super().preset(spec, budget) | {"deviation": 0.001}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="observation_noise", episodes=2, min_return=None, max_loss=10.0, deviation=0.01)

    def perturbations(self) -> dict[str, Perturbation]:
        """Return the noise."""
        label = f"with noise of {100 * self.deviation:g} % of each observation's range"
        return {label: Perturbation(noise=self.deviation)}
