"""What a rule of the release gate is: its section of params.yaml, and the finding that it makes of evidence.

A rule is one file: a subclass of `Rule` with its thresholds. The product's are listed in `RULES`; another
package registers its own under the entry points `sacpipe.release_rules`, and a project names one of its own as
`module:Class` in params.yaml. `sacpipe.testing.rules.check_rule` tests one.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from sacpipe.core.config import Config
from sacpipe.core.members import Members, member_field
from sacpipe.release.evidence import Evidence
from sacpipe.release.verdict import Finding

RETURN = "return"
"""Unit of returns: the task's own."""
SHARE = "share"
"""Unit of shares."""

_NAMES = """
    floor champion worst_case smoothness saturation observation_noise dropouts delay mass friction parity latency
    same_contract guards lineage
"""


class Rule(Config, ABC):
    """One rule with its thresholds."""

    name: str
    """Registered name, or `module:Class`."""

    is_episodic: ClassVar[bool] = False
    """Whether the rule runs episodes."""

    @abstractmethod
    def judge(self, evidence: Evidence) -> Finding:
        """Judge a candidate.

        Raises:
            Exception: no finding can be made; the gate refuses, and names the rule and the error.
        """

    @classmethod
    @abstractmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""

    def holds(self, found: str, *, expected: str = "nothing to compare") -> Finding:
        """Return the finding of a rule that holds without a figure, with the reason in `found`."""
        return self._finding(found, expected, ok=True)

    def refuses(self, found: str, *, expected: str, advice: str) -> Finding:
        """Return the finding of a rule that does not hold, without a figure."""
        return self._finding(found, expected, ok=False, advice=advice)

    def at_least(self, figure: float, floor: float, *, what: str, unit: str, advice: str) -> Finding:
        """Return the finding of a figure that must not be below a floor; one that is not finite is refused.

        Args:
            figure: The figure.
            floor: Lowest allowed value.
            what: Name of the figure, e.g. `mean return`.
            unit: `RETURN`, `SHARE` or another unit of both.
            advice: How to get further where it is lower, as whole sentences.
        """
        return self._compared(figure, floor, "floor", what=what, unit=unit, advice=advice)

    def at_most(self, figure: float, limit: float, *, what: str, unit: str, advice: str) -> Finding:
        """Return the finding of a figure that must not be above a limit; see `at_least`."""
        return self._compared(figure, limit, "limit", what=what, unit=unit, advice=advice)

    def _compared(
        self, figure: float, threshold: float, word: str, *, what: str, unit: str, advice: str
    ) -> Finding:
        is_finite = math.isfinite(figure)
        ok = is_finite and (figure >= threshold if word == "floor" else figure <= threshold)
        if not is_finite:
            advice = f"The {what} is not a finite number: look for the first step at which it is not."
        return self._finding(
            f"{what} {in_words(figure, unit)}",
            f"{word} {in_words(threshold, unit)}",
            ok=ok,
            advice="" if ok else advice,
            figure=figure if is_finite else None,
            threshold=threshold,
            unit=unit,
        )

    def _finding(self, found: str, expected: str, *, ok: bool, advice: str = "", **figures: Any) -> Finding:
        numbers = {"figure": None, "threshold": None, "unit": ""} | figures
        return Finding(rule=self.name, expected=expected, found=found, ok=ok, advice=advice, **numbers)


def in_words(value: float, unit: str) -> str:
    """Return a number as people read it: a share in percent, others with two decimals or fewer."""
    if not math.isfinite(value):
        return str(value)
    if unit == SHARE:
        return f"{100 * value:.4g} %"
    text = f"{value:,.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.3g}"
    number = text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return number if unit in {RETURN, ""} else f"{number} {unit}"


def _path(name: str) -> str:
    return f"sacpipe.release.rules.{name}:{name.title().replace('_', '')}"


RULES = Members("release rule", "sacpipe.release_rules", {name: _path(name) for name in _NAMES.split()}, base=Rule)
"""All rules, in the order in which a new params.yaml has them."""
RuleField: Any = member_field(RULES)
"""One rule in a list of rules, tagged by its `name`."""
