"""What others see of whatever acts, a robot's `Runtime` or a server's `Service`, and who is told of it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

from sacpipe.bundle.guard_settings import Cause, Verdict
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

Observation = FloatArray | Mapping[str, FloatArray]
"""The whole vector, float32; or every term by its name in the contract, each float32 of shape (size,)."""


class Timings(NamedTuple):
    """Nanoseconds."""

    age_ns: int
    """From the observation's stamp to the beginning of the step; negative where it is from the future."""
    policy_ns: int
    """In the ONNX runtime; 0 where the policy did not run."""
    step_ns: int
    """The whole step."""


class Decision(NamedTuple):
    """What a step gives. Safe to keep: no array of it is written again."""

    action: FloatArray
    """To be executed, in the task's own units, finite and within its bounds. Shape (action_dim,)."""
    verdict: Verdict
    reasons: tuple[Cause, ...]
    """Why it is not the policy's action; empty where it is."""
    timings: Timings
    policy_action: FloatArray | None
    """The policy's action; None where it did not run or failed. Not always finite or within the bounds."""


Listener = Callable[[FloatArray, int, Decision], None]
"""Is given the observation (the runtime's own memory: copy it), its stamp and the decision. Must not wait.
Where the shape was refused, the observation is the one before."""


class Listeners:
    """Who is told of every step, by the thread that made it and after it. Any thread may add and remove."""

    def __init__(self) -> None:
        self._all: tuple[Listener, ...] = ()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def add(self, listener: Listener) -> None:
        """Tell one more, from the next step on."""
        with self._lock:
            self._all = (*self._all, listener)

    def remove(self, listener: Listener) -> None:
        """Tell it no more."""
        with self._lock:
            self._all = tuple(one for one in self._all if one != listener)


class PolicyHost(Protocol):
    """What a shadow and a rollout ask of whatever acts: a robot's `Runtime`, or a server's `Service`."""

    listeners: Listeners
    """Told of every step or answered observation, after it."""

    @property
    def spec(self) -> EnvSpec:
        """The task's."""
        ...

    @property
    def policy(self) -> OnnxPolicy:
        """The policy that acts next."""
        ...

    @property
    def causes(self) -> Mapping[Cause, int]:
        """How often each guard said no, since the start."""
        ...

    @property
    def stops(self) -> int:
        """How often a stop was latched, since the start. A stop that holds is not counted again."""
        ...

    def swap(self, policy: OnnxPolicy) -> None:
        """Let another policy act; the one before stays ready."""
        ...

    def rollback(self) -> OnnxPolicy:
        """Let the policy before the last swap act again, at once, and return it."""
        ...
