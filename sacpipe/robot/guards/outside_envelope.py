"""The guard `outside_envelope`: at every step the robot is where training data exist. Off by default."""

from typing import Literal, Self

from sacpipe.robot.guards.envelope_range import EnvelopeGuard


class OutsideEnvelope(EnvelopeGuard):
    """An observation is outside the training range by more than `margin`."""

    name: Literal["outside_envelope"]

    @classmethod
    def example(cls) -> Self:
        """Return a config of half the range."""
        return cls(name="outside_envelope", fallback="safe", margin=0.5)
