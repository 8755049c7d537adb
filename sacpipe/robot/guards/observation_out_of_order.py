"""The guard `observation_out_of_order`: no stamp is earlier than the one before."""

from typing import ClassVar, Literal

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts


class _Armed(ArmedGuard):
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
    armed: ClassVar[type[ArmedGuard]] = _Armed
    default_keys: ClassVar[GuardKeys] = {"fallback": "last"}
    """Repeat the last action: messages may overtake each other."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Give a stamp before the last one."""
        del contract
        step.stamp_ns = step.last_stamp_ns - 1
