"""Release rule `same_contract`: a robot that runs the champion can run the candidate."""

from typing import Any, Literal, Self

from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import Rule
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_COMPARED = {
    "task": "the task",
    "observation": "observation terms",
    "action": "action terms",
    "control_period_s": "the control period",
}


class SameContract(Rule):
    """Task, terms and control period of the champion."""

    name: Literal["same_contract"]

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return no value: the champion's contract is the measure."""
        return {}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="same_contract")

    def judge(self, evidence: Evidence) -> Finding:
        """Compare the contracts."""
        if evidence.champion is None:
            return self.holds(f"not compared: {evidence.why_alone}")
        own, champion = evidence.candidate.contract.spec, evidence.champion.contract.spec
        differing = [words for key, words in _COMPARED.items() if getattr(own, key) != getattr(champion, key)]
        if not differing:
            return self.holds(
                "terms and control period are the champion's", expected="the champion's terms and period"
            )
        return self.refuses(
            f"differs in {', '.join(differing)}",
            expected="the champion's terms and period",
            advice="Robots that run the champion refuse this one. Set another release.model_name in "
            "params.yaml and commit it.",
        )
