"""A candidate beside the policy in service: its actions are compared, never executed.

It sees what that one sees. The thread that acts only hands an observation over; where the candidate
cannot keep up, observations are dropped and counted. What is kept is evidence for a promotion, or
against it.
"""

import queue
import threading
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.robot.decision import Decision
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.specs.records import FloatArray

_WAITING = 256
"""Observations that wait at most: 40 ms of a candidate's work, half a second at 500 Hz."""
_EDGES = np.logspace(-6.0, 0.0, 61)
"""Bounds of the histogram's classes, ten a decade, as shares of an action's range."""


class Divergence(Config):
    """How far a candidate's actions were from the ones in service, as shares of each action's range."""

    host: str
    """Digest of the bundle that acted."""
    candidate: str
    """Digest of the bundle that watched."""
    steps: int = Field(ge=0)
    """Compared. Only steps that the policy in service decided by itself are: not fallbacks and stops."""
    dropped: int = Field(ge=0)
    """Not compared because the candidate could not keep up."""
    refused: int = Field(ge=0)
    """Steps at which the candidate failed, or gave an action that is not finite or outside its bounds."""
    mean: float = Field(ge=0)
    """Over all steps and entries."""
    p99: float = Field(ge=0)
    """99 % of the steps' largest entries lie below; to a tenth of a decade, from above."""
    largest: float = Field(ge=0)
    largest_entry: str
    """Name of the action entry that differed most."""


class Shadow:
    """Compares a candidate with the policy in service, in a thread of its own, until it is closed.

    Args:
        in_service: What acts.
        candidate: For the same task, and used by nobody else.

    Raises:
        BundleError: the candidate is of another task.
    """

    def __init__(self, host: PolicyHost, candidate: OnnxPolicy) -> None:
        spec = host.spec
        candidate.check_task(spec, "candidate")
        self._host, self._candidate = host, candidate
        self._digest = host.policy.digest
        self._low, self._high = spec.action_low, spec.action_high
        self._span = spec.action_high.astype(np.float64) - spec.action_low
        self._names = [term.name for term in spec.action]
        self._waiting: queue.SimpleQueue[tuple[FloatArray, FloatArray] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._steps = self._refused = self._dropped = 0
        self._sums: NDArray[np.float64] = np.zeros(len(self._names))
        self._largest: NDArray[np.float64] = np.zeros(len(self._names))
        self._classes: NDArray[np.int64] = np.zeros(len(_EDGES) + 1, dtype=np.int64)
        self._thread = threading.Thread(target=self._compare, name="shadow", daemon=True)
        self._thread.start()
        host.listeners.add(self._hear)

    def __enter__(self) -> Self:
        """Watch until the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        self.close()

    def close(self) -> None:
        """Stop watching; what waits is compared first."""
        self._host.listeners.remove(self._hear)
        self._waiting.put(None)
        self._thread.join()

    def _hear(self, observation: FloatArray, stamp_ns: int, decision: Decision) -> None:
        """Take over one step; called by the thread that acts."""
        del stamp_ns
        if decision.verdict != "ok":
            return
        if self._waiting.qsize() >= _WAITING:
            self._dropped += 1
        else:
            self._waiting.put((observation.copy(), decision.action))

    def _compare(self) -> None:
        while (step := self._waiting.get()) is not None:
            observation, action = step
            try:
                found = self._candidate.run(observation).copy()
            except Exception:  # noqa: BLE001 - onnxruntime's errors have no class in common; counted
                found = np.full_like(action, np.nan)
            with self._lock:
                self._add(found, action)

    def _add(self, found: FloatArray, action: FloatArray) -> None:
        self._steps += 1
        if not ((found >= self._low) & (found <= self._high)).all():  # NaN included
            self._refused += 1
            return
        shares = np.abs(found.astype(np.float64) - action) / self._span
        self._sums += shares
        np.maximum(self._largest, shares, out=self._largest)
        self._classes[np.searchsorted(_EDGES, shares.max())] += 1

    def divergence(self) -> Divergence:
        """Return what was seen so far."""
        with self._lock:
            compared = self._steps - self._refused
            worst = int(self._largest.argmax())
            return Divergence(
                host=self._digest,
                candidate=self._candidate.digest,
                steps=self._steps,
                dropped=self._dropped,
                refused=self._refused,
                mean=float(self._sums.mean()) / max(compared, 1),
                p99=self._quantile(0.99, compared),
                largest=float(self._largest[worst]),
                largest_entry=self._names[worst],
            )

    def _quantile(self, share: float, compared: int) -> float:
        """Return the upper bound of the class in which a share of the steps is reached, or the largest."""
        index = int(np.searchsorted(np.cumsum(self._classes), share * compared))
        bound = float(_EDGES[index]) if index < len(_EDGES) else np.inf
        return min(bound, float(self._largest.max()))
