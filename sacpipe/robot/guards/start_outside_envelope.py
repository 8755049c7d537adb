"""The guard `start_outside_envelope`: an episode begins where training data exist."""

from typing import ClassVar, Literal

from sacpipe.robot.guards.envelope_range import EnvelopeGuard
from sacpipe.robot.guards.guard import GuardKeys


class StartOutsideEnvelope(EnvelopeGuard):
    """An episode begins outside of the training range. By more than `margin` of an entry's range."""

    name: Literal["start_outside_envelope"]
    only_at_start: ClassVar[bool] = True
    default_keys: ClassVar[GuardKeys] = {"fallback": "safe", "margin": 0.1}
    """Allow a tenth of the range."""
    weakest_keys: ClassVar[GuardKeys] = {"margin": 1.0}
    """Allow the whole range on each side."""
