"""Guards of when an observation was made: by its stamps, those before and the clock."""

from typing import ClassVar, Literal

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_PERIODS
from sacpipe.robot.guards.guard import NEVER_NS, ArmedGuard, Guard, GuardKeys, StepFacts, nanoseconds


class _ArmedObservationRepeated(ArmedGuard):
    def refuses_observation(self, step: StepFacts) -> bool:
        return step.stamp_ns == step.last_stamp_ns


class ObservationRepeated(Guard):
    """The observation has the stamp of the one before; with a stamp for each term, the same newest stamp."""

    name: Literal["observation_repeated"]
    discards_observation: ClassVar[bool] = True
    armed: ClassVar[type[ArmedGuard]] = _ArmedObservationRepeated
    default_keys: ClassVar[GuardKeys] = {"fallback": "last"}
    """Repeat the last action: a message may be lost."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Give the stamp of the observation before."""
        del contract
        step.stamp_ns = step.last_stamp_ns


class _ArmedObservationOutOfOrder(ArmedGuard):
    def refuses_observation(self, step: StepFacts) -> bool:
        if step.stamp_ns < step.last_stamp_ns:
            return True
        before, now = step.last_term_stamps_ns, step.term_stamps_ns
        if before is None or now is None:
            return False
        return any(stamp_ns < before[name] for name, stamp_ns in now.items())


class ObservationOutOfOrder(Guard):
    """A stamp is earlier than the one before. Of the observation, or of one of its terms."""

    name: Literal["observation_out_of_order"]
    discards_observation: ClassVar[bool] = True
    armed: ClassVar[type[ArmedGuard]] = _ArmedObservationOutOfOrder
    default_keys: ClassVar[GuardKeys] = {"fallback": "last"}
    """Repeat the last action: messages may overtake each other."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Give a stamp before the last one."""
        del contract
        step.stamp_ns = step.last_stamp_ns - 1


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
        return _ArmedObservationOld(
            {
                term.name: nanoseconds(own.get(term.name, self.max_age_periods), period_s)
                for term in contract.spec.observation
            }
        )


class _ArmedObservationOld(ArmedGuard):
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


class ObservationFromFuture(Guard):
    """A stamp is later than now, by more than `max_future_periods`."""

    name: Literal["observation_from_future"]
    max_future_periods: float = Field(ge=0, le=MAX_PERIODS)
    """How far a stamp may be ahead of the robot's clock, in control periods."""
    discards_observation: ClassVar[bool] = True
    default_keys: ClassVar[GuardKeys] = {"fallback": "last", "max_future_periods": 0.5}
    """Allow half a period: the clocks of sensors differ a little."""
    weakest_keys: ClassVar[GuardKeys] = {"max_future_periods": 1.0}
    """Allow one period."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Give a stamp that is one period ahead."""
        step.stamp_ns = step.began_ns + nanoseconds(1.0, contract.spec.control_period_s)

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with its limit in nanoseconds."""
        del contract
        return _ArmedObservationFromFuture(nanoseconds(self.max_future_periods, period_s))


class _ArmedObservationFromFuture(ArmedGuard):
    def __init__(self, max_future_ns: int) -> None:
        self._max_future_ns = max_future_ns

    def refuses_observation(self, step: StepFacts) -> bool:
        return step.stamp_ns - step.began_ns > self._max_future_ns
