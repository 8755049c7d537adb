"""Release rule `latency`: how long a step of the runtime takes on this machine."""

from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import SHARE, Rule
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class Latency(Rule):
    """Duration of a step of the runtime on this machine."""

    is_momentary: ClassVar[bool] = True
    name: Literal["latency"]
    quantile: float = Field(gt=0, lt=1)
    """Quantile of the durations that is compared."""
    max_share: float = Field(gt=0, le=10)
    """Largest share of the control period."""

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {"quantile": 0.99, "max_share": 0.5}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="latency", quantile=0.99, max_share=0.5)

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the quantile."""
        period_s = evidence.candidate.contract.spec.control_period_s
        if period_s is None:
            return self.holds(f"does not apply: {evidence.spec.task} has no clock")
        duration_s = float(np.quantile(evidence.candidate.latency(), self.quantile))
        times = f"{1e3 * duration_s:.3g} of {1e3 * period_s:g} ms"
        return self.at_most(
            duration_s / period_s,
            self.max_share,
            what=f"{100 * self.quantile:g} % of the steps take at most {{}} of the control period ({times})",
            unit=SHARE,
            advice="Judge on an idle machine, or train a smaller network or with a longer control period.",
        )
