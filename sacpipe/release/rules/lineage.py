"""Release rule `lineage`: the policy's origin is recorded and every digest agrees."""

from typing import Any, Literal, Self

from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import Rule
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_SHOWN = 3


class Lineage(Rule):
    """Every recorded link from the version to its params and pool."""

    name: Literal["lineage"]

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return no value: a link holds or does not."""
        return {}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="lineage")

    def judge(self, evidence: Evidence) -> Finding:
        """Judge the links. Those to commits are left to `sacpipe promote`, which needs one."""
        faults = evidence.lineage_faults
        if not faults:
            return self.holds("every recorded link to params and pools holds", expected="a complete lineage")
        more = f"; {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        return self.refuses(
            "; ".join(faults[:_SHOWN]) + more,
            expected="a complete lineage",
            advice="`sacpipe lineage` shows every link; `sacpipe ledger rebuild` records what is missing.",
        )
