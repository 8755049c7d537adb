"""The guard `start_outside_envelope`: an episode begins where training data exist."""

from typing import ClassVar, Literal, Self

from sacpipe.robot.guards.envelope_range import EnvelopeGuard


class StartOutsideEnvelope(EnvelopeGuard):
    """An episode begins outside of the training range. By more than `margin` of an entry's range."""

    name: Literal["start_outside_envelope"]
    only_at_start: ClassVar[bool] = True

    @classmethod
    def example(cls) -> Self:
        """Return a config of a tenth of the range."""
        return cls(name="start_outside_envelope", fallback="safe", margin=0.1)

    @classmethod
    def default(cls) -> Self:
        """Allow a tenth of the range."""
        return cls.example()

    @classmethod
    def weakest(cls) -> Self:
        """Allow the whole range on each side."""
        return cls(name="start_outside_envelope", fallback="safe", margin=1.0)
