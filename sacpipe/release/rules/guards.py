"""Release rule `guards`: the candidate's guards are no weaker than the champion's."""

from collections.abc import Iterator
from typing import Any, Literal, Self

from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import Rule
from sacpipe.release.verdict import Finding
from sacpipe.robot.armed_guards import guards_in_service
from sacpipe.robot.guards.guard import Guard
from sacpipe.robot.operator_terms import OperatorTerms, broken_settings
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class Guards(Rule):
    """Guards no weaker than the champion's; of a first release, than operators accept by default."""

    name: Literal["guards"]

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return no value: the champion's contract is the measure."""
        return {}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="guards")

    def judge(self, evidence: Evidence) -> Finding:
        """Compare the guards in service, with defaults for those that are not listed."""
        own = evidence.candidate.contract.runtime
        if evidence.champion is None:
            weaker, whose = list(_below_weakest(own)), "the weakest that operators accept by default"
        else:
            weaker, whose = list(_weaker(own, evidence.champion.contract.runtime)), "the champion's"
        if not weaker:
            return self.holds(f"no guard is weaker than {whose}", expected=f"guards as strict as {whose}")
        return self.refuses(
            "; ".join(weaker),
            expected=f"guards as strict as {whose}",
            advice="Set stricter values of these keys of `runtime` in params.yaml, run, and commit.",
        )


def _below_weakest(own: RuntimeSettings) -> Iterator[str]:
    for guard in guards_in_service(own):
        weakest = type(guard).weakest()
        if weakest is not None:
            yield from _looser(guard, weakest)
        if guard.fallback not in type(guard).allowed_fallbacks():
            yield f"{guard.name}.fallback is {guard.fallback}"
    yield from broken_settings(own, OperatorTerms())


def _weaker(own: RuntimeSettings, champion: RuntimeSettings) -> Iterator[str]:
    found = {guard.name: guard for guard in guards_in_service(own)}
    for guard in guards_in_service(champion):
        mine = found.get(guard.name)
        if mine is None or type(mine) is not type(guard):
            yield f"{guard.name} is missing"
            continue
        yield from _looser(mine, guard)
        if mine.fallback == "hold" != guard.fallback:
            yield f"{guard.name}.fallback is hold instead of {guard.fallback}"
    yield from _settings(own, champion)


def _looser(guard: Guard, bound: Guard) -> Iterator[str]:
    for key in guard.looser_keys(bound):
        yield f"{guard.name}.{key} is {getattr(guard, key)} instead of {getattr(bound, key)}"


def _settings(own: RuntimeSettings, champion: RuntimeSettings) -> Iterator[str]:
    """Compare what is no guard's own: repeated actions, the watchdog, and age limits of terms."""
    if own.max_last_steps > champion.max_last_steps:
        yield f"max_last_steps is {own.max_last_steps} instead of {champion.max_last_steps}"
    if _is_later(own.watchdog_periods, champion.watchdog_periods):
        yield f"watchdog_periods is {own.watchdog_periods} instead of {champion.watchdog_periods}"
    for term, limit in champion.term_max_age_periods.items():
        found = own.term_max_age_periods.get(term)
        if _is_later(found, limit):
            yield f"term_max_age_periods.{term} is {found} instead of {limit}"


def _is_later(found: float | None, limit: float | None) -> bool:
    return limit is not None and (found is None or found > limit)
