"""The guard `observation_repeated`: an observation is newer than the one before."""

from typing import ClassVar, Literal

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts


class _Armed(ArmedGuard):
    def refuses_observation(self, step: StepFacts) -> bool:
        return step.stamp_ns == step.last_stamp_ns


class ObservationRepeated(Guard):
    """The observation has the stamp of the one before; with a stamp for each term, the same newest stamp."""

    name: Literal["observation_repeated"]
    discards_observation: ClassVar[bool] = True
    armed: ClassVar[type[ArmedGuard]] = _Armed
    default_keys: ClassVar[GuardKeys] = {"fallback": "last"}
    """Repeat the last action: a message may be lost."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Give the stamp of the observation before."""
        del contract
        step.stamp_ns = step.last_stamp_ns
