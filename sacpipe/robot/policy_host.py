"""What a shadow and a rollout need of the object that runs a policy, and who receives its steps."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from sacpipe.robot.decision import Decision, Stamps
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation

Listener = Callable[[Observation, Stamps, Decision], None]
"""Receives the observation, its stamp or the stamps of its terms in nanoseconds, and the decision. It must
not wait.

The observation is the runtime's own memory: copy it. Where the shape was refused, it is not the step's.
"""


class Listeners:
    """The listeners of one policy host. The stepping thread calls them; any thread may add and remove."""

    def __init__(self) -> None:
        self._all: tuple[Listener, ...] = ()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def add(self, listener: Listener) -> None:
        """Call a listener from the next step on."""
        with self._lock:
            self._all = (*self._all, listener)

    def remove(self, listener: Listener) -> None:
        """Stop calling a listener."""
        with self._lock:
            self._all = tuple(one for one in self._all if one != listener)


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

    def rollback(self, policy: OnnxPolicy | None = None) -> OnnxPolicy:
        """Use a policy, else the one before the last swap, from the next step on without a blend."""
        ...

    def halt(self) -> None:
        """Let no policy act from the next step on, until `swap` or `rollback`."""
        ...
