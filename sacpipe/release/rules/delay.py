"""Release rule `delay`: the return when observations arrive late."""

from typing import Any, Literal, Self

from pydantic import Field

from sacpipe.release.evidence import Perturbation
from sacpipe.release.rules.robustness import Robustness
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_MAX_PERIODS = 1000


class Delay(Robustness):
    """Return under a delay."""

    name: Literal["delay"]
    periods: int = Field(ge=1, le=_MAX_PERIODS)
    """Control periods between an observation's time stamp and its arrival."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return super().preset(spec, budget) | {"periods": 1}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="delay", episodes=2, min_return=None, max_loss=10.0, periods=1)

    def perturbations(self) -> dict[str, Perturbation]:
        """Return the delay."""
        word = "period" if self.periods == 1 else "periods"
        return {f"with observations {self.periods} {word} late": Perturbation(delay_periods=self.periods)}
