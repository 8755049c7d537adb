"""The guard `observation_repeated`: an observation is newer than the one before."""

from typing import ClassVar, Literal, Self

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts


class ObservationRepeated(Guard):
    """The observation has the stamp of the one before; with a stamp for each term, the same newest stamp."""

    name: Literal["observation_repeated"]
    discards_observation: ClassVar[bool] = True

    @classmethod
    def example(cls) -> Self:
        """Return the default."""
        return cls(name="observation_repeated", fallback="last")

    @classmethod
    def default(cls) -> Self:
        """Repeat the last action: a message may be lost."""
        return cls(name="observation_repeated", fallback="last")

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Give the stamp of the observation before."""
        del contract
        step.stamp_ns = step.last_stamp_ns

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard; it has no threshold."""
        del contract, period_s
        return _Armed()


class _Armed(ArmedGuard):
    def refuses_observation(self, step: StepFacts) -> bool:
        return step.stamp_ns == step.last_stamp_ns
