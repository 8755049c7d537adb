"""Functions that receive every step after it was decided, such as the recorder and the shadow."""

import threading
from collections.abc import Callable, Iterator

from sacpipe.robot.decision import Decision, Stamps
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
