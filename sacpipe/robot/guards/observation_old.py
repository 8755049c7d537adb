"""The guard `observation_old`: no observation, and no term of it, is older than its limit."""

from typing import ClassVar, Literal

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_PERIODS
from sacpipe.robot.guards.guard import NEVER_NS, ArmedGuard, Guard, GuardKeys, StepFacts, nanoseconds


class ObservationOld(Guard):
    """The observation is older than `max_age_periods`, or a term is older than its own limit."""

    name: Literal["observation_old"]
    max_age_periods: float = Field(gt=0, le=MAX_PERIODS)
    """Age from which an observation is refused, in control periods; for terms with a limit of their own, that
    of `runtime.term_max_age_periods` counts instead."""
    discards_observation: ClassVar[bool] = True
    default_keys: ClassVar[GuardKeys] = {"fallback": "last", "max_age_periods": 2.0}
    """Refuse after two periods."""
    weakest_keys: ClassVar[GuardKeys] = {"max_age_periods": 10.0}
    """Allow ten periods."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Let the step begin much later."""
        step.began_ns = step.oldest_stamp_ns + nanoseconds(100.0, contract.spec.control_period_s)

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with a limit for each term."""
        own = contract.runtime.term_max_age_periods
        return _Armed(
            {
                term.name: nanoseconds(own.get(term.name, self.max_age_periods), period_s)
                for term in contract.spec.observation
            }
        )


class _Armed(ArmedGuard):
    def __init__(self, max_ages_ns: dict[str, int]) -> None:
        self._max_ages_ns = max_ages_ns
        self._smallest_ns = min(max_ages_ns.values(), default=NEVER_NS)
        """Limit of an observation with one stamp: it is the stamp of every term."""

    def refuses_observation(self, step: StepFacts) -> bool:
        stamps_ns, began_ns = step.term_stamps_ns, step.began_ns
        if began_ns - step.oldest_stamp_ns <= self._smallest_ns:
            return False
        if stamps_ns is None:
            return True
        return any(began_ns - stamps_ns[name] > max_age_ns for name, max_age_ns in self._max_ages_ns.items())
