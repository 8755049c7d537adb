"""What a rule of the release gate is: its section of params.yaml, and the finding that it makes of evidence.

A rule is one file: a subclass of `Rule` with its thresholds. The product's are listed in `RULES`; another
package registers its own under the entry points `sacpipe.release_rules`, and a project names one of its own
as `module:Class` in params.yaml. `sacpipe.testing.rules.check_rule` tests one.
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
    floor champion worst_case smoothness saturation observation_noise dropouts delay mass friction
    parity latency same_contract guards lineage
"""


class Rule(Config, ABC):
    """One rule with its thresholds."""

    name: str
    """Registered name, or `module:Class`."""

    is_momentary: ClassVar[bool] = False
    """Whether a refusal may pass by itself, as on a less busy machine: it is judged again."""

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

    def holds(self, found: str, *, expected: str = "") -> Finding:
        """Return the finding of a rule that holds without a figure, with the reason in `found`."""
        return self._finding(found, expected, ok=True)

    def refuses(self, found: str, *, expected: str, advice: str) -> Finding:
        """Return the finding of a rule that does not hold, without a figure."""
        return self._finding(found, expected, ok=False, advice=advice)

    def at_least(
        self, figure: float, floor: float | None, *, what: str, unit: str, advice: str, why: str = ""
    ) -> Finding:
        """Return the finding of a figure that must not be below a floor; one that is not finite is refused.

        Args:
            figure: The figure.
            floor: Lowest allowed value; None for none.
            what: Name of the figure, e.g. `mean return`; the figure is at `{}` in it, or at its end.
            unit: `RETURN`, `SHARE` or another unit of both.
            advice: How to get further where it is lower, as whole sentences.
            why: Where the floor comes from, or why there is none.
        """
        expected = "no floor" if floor is None else f"floor {in_words(floor, unit)}"
        ok = floor is None or figure >= floor
        return self._compared(figure, floor, what, unit, ok=ok, expected=_with(expected, why), advice=advice)

    def at_most(
        self, figure: float, limit: float, *, what: str, unit: str, advice: str, why: str = ""
    ) -> Finding:
        """Return the finding of a figure that must not be above a limit; see `at_least`."""
        expected = _with(f"limit {in_words(limit, unit)}", why)
        return self._compared(figure, limit, what, unit, ok=figure <= limit, expected=expected, advice=advice)

    def _compared(
        self, figure: float, threshold: float | None, what: str, unit: str, **judged: Any
    ) -> Finding:
        is_finite = math.isfinite(figure)
        if not is_finite:
            judged |= {
                "ok": False,
                "advice": "The figure is not a finite number: find the step that makes it so.",
            }
        words, value = what if "{}" in what else f"{what} {{}}", in_words(figure, unit)
        return self._finding(
            words.replace("{}", value),
            figure=figure if is_finite else None,
            threshold=threshold,
            unit=unit,
            **judged,
        )

    def _finding(self, found: str, expected: str, *, ok: bool, advice: str = "", **figures: Any) -> Finding:
        numbers = {"figure": None, "threshold": None, "unit": ""} | figures
        advice = "" if ok else advice
        return Finding(rule=self.name, expected=expected, found=found, ok=ok, advice=advice, **numbers)


def _with(text: str, why: str) -> str:
    return f"{text} ({why})" if why else text


def in_params(change: str) -> str:
    """Return a change of a rule in words, with its place, and that it counts when it is committed."""
    return f"{change} in release.rules of params.yaml and commit it"


def of_episodes(count: int) -> str:
    """Return a number of episodes in words."""
    return "1 episode" if count == 1 else f"{count:,} episodes"


def below_champion(champion: float, max_loss: float) -> tuple[float, str]:
    """Return the floor that a champion's figure on the same seeds sets, and where it comes from, in words."""
    loss = f", less max_loss {in_words(max_loss, RETURN)}" if max_loss else ""
    return champion - max_loss, f"the champion's {in_words(champion, RETURN)} on the same seeds{loss}"


def why_no_floor(evidence: Evidence, max_loss: float | None) -> str:
    """Return why neither `min_return`, which is null, nor the champion sets a floor, in words."""
    if max_loss is None:
        return "min_return and max_loss are null"
    return f"min_return is null, and {evidence.why_alone}"


def not_finite(champion: float, floor: float | None) -> str:
    """Return where a floor comes from, in words, where the champion's figure is not finite and sets none."""
    return f"{'min_return is null' if floor is None else 'min_return'}, and the champion's is {champion}"


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


RULES = Members(
    "release rule", "sacpipe.release_rules", {name: _path(name) for name in _NAMES.split()}, base=Rule
)
"""All rules, in the order in which a new params.yaml has them."""
RuleField: Any = member_field(RULES)
"""One rule in a list of rules, tagged by its `name`."""
