"""What a shadow and a rollout need of the object that runs a policy."""

from collections.abc import Mapping
from typing import Protocol

from sacpipe.robot.listeners import Listeners
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.specs.env_spec import EnvSpec


class PolicyHost(Protocol):
    """An object that runs a policy and can swap it: a robot's `Runtime`, or a server's `Service`."""

    listeners: Listeners
    """Called after every step or answered observation."""

    @property
    def spec(self) -> EnvSpec:
        """Observation and action terms of the task."""
        ...

    @property
    def policy(self) -> OnnxPolicy:
        """The policy of the next step."""
        ...

    @property
    def causes(self) -> Mapping[str, int]:
        """Number of refusals since the start, by name of the guard."""
        ...

    @property
    def stops(self) -> int:
        """Number of stops latched since the start. A stop that stays latched counts once."""
        ...

    def swap(self, policy: OnnxPolicy) -> None:
        """Use another policy from the next step on; the one before stays loaded for `rollback`."""
        ...

    def rollback(self) -> OnnxPolicy:
        """Use the policy before the last swap from the next step on, without a blend, and return it."""
        ...
