"""Release rule `parity`: torch, ONNX and this machine's onnxruntime compute the same actions."""

from typing import Any, Literal, Self

from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import SHARE, Rule
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_ADVICE = "Export the policy again on this kind of machine; `sacpipe verify` says which output moved."


class Parity(Rule):
    """Equal actions of network, bundle and this machine."""

    name: Literal["parity"]

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return no value: the tolerances are those of the export and of the contract."""
        return {}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="parity")

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the golden sequence on this machine, and what the export stage found."""
        unknown = "; no parity of the export is recorded" if evidence.parity is None else ""
        golden = self.at_most(
            evidence.golden_error,
            evidence.candidate.contract.golden.tolerance,
            what=f"the bundle's golden actions on this machine differ by {{}} of their range{unknown}",
            unit=SHARE,
            advice=_ADVICE,
        )
        if evidence.parity is None or not golden.ok:
            return golden
        return self.at_most(
            evidence.parity.parity_max_error,
            evidence.parity.parity_tolerance,
            what="actions of torch and ONNX differ by {} of their range",
            unit=SHARE,
            advice=_ADVICE,
        )
