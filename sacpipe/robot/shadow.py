"""The shadow: a candidate gets the observations of the policy in service; its actions are compared only.

The stepping thread only puts an observation into a queue. Where the candidate cannot keep up, observations
are dropped and counted. The comparison is evidence for or against a promotion.

Two stochastic policies that draw noise of their own would differ even where they are equal. So the candidate
and a clone of the host's policy compute both actions in the shadow's thread, from the same numbers.
"""

import queue
import threading
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.seeding import generator
from sacpipe.robot.decision import Decision, Stamps
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_MAX_WAITING = 256
"""Maximum length of the queue: 40 ms of a candidate's work, half a second at 500 Hz."""
_CLOSE_S = 5.0
"""Maximum time to wait for the candidate's last action when the comparison ends, in seconds."""
_EDGES = np.logspace(-6.0, 0.0, 61)
"""Edges of the histogram's bins, ten a decade, as shares of an action's range."""


class Divergence(Config):
    """Difference between a candidate's actions and those in service, as shares of each action's range.

    Both actions of two stochastic policies are computed at the same noise; else the action in service counts.
    """

    host: str
    """Digest of the bundle in service."""
    candidate: str
    """Digest of the bundle that is compared with it."""
    steps: int = Field(ge=0)
    """Number of compared steps. Only steps with the verdict `ok` are compared."""
    dropped: int = Field(ge=0)
    """Number of steps that were not compared because the candidate could not keep up."""
    refused: int = Field(ge=0)
    """Number of steps at which the candidate failed, or its action was not finite or out of bounds."""
    mean: float = Field(ge=0)
    """Mean over all steps and action entries."""
    p99: float = Field(ge=0)
    """99th percentile of the steps' largest entries, rounded up to a tenth of a decade."""
    largest: float = Field(ge=0)
    """Largest difference of all steps and action entries."""
    largest_entry: str
    """Name of the action entry with the largest difference."""


class _SharedNoise:
    """Computes the actions of two stochastic policies from the same random numbers.

    Each reads the first ones: a policy with more of them reads those of the other and further ones.

    Args:
        reference: The policy in service, a clone.
        candidate: The policy that is compared with it.
    """

    def __init__(self, reference: OnnxPolicy, candidate: OnnxPolicy) -> None:
        self._policies = (reference, candidate)
        self._dims = (_noise_dim(reference), _noise_dim(candidate))
        self._generator = generator(0, "shadow noise")

    @classmethod
    def of(cls, host: OnnxPolicy, candidate: OnnxPolicy) -> Self | None:
        """Return the noise of a comparison; None where one of the policies is deterministic."""
        if not (_noise_dim(host) and _noise_dim(candidate)):
            return None
        return cls(host.clone_session(), candidate)

    def actions(self, observation: Observation) -> tuple[FloatArray, FloatArray]:
        """Return the action of the reference and that of the candidate."""
        noise = self._generator.standard_normal(max(self._dims), dtype=np.float32)
        reference, candidate = (
            policy.run(observation, noise[:dim]).copy()
            for policy, dim in zip(self._policies, self._dims, strict=True)
        )
        return reference, candidate


def _noise_dim(policy: OnnxPolicy) -> int:
    noise = policy.contract.onnx.noise
    return 0 if noise is None else noise.dim


class Shadow:
    """Compares a candidate with the policy in service, in a thread of its own, until it is closed.

    Args:
        host: Runs the policy in service.
        candidate: A policy of the same task. No other object may run it.

    Raises:
        BundleError: the candidate is of another task.
        RuntimeError: no thread could be started.
    """

    def __init__(self, host: PolicyHost, candidate: OnnxPolicy) -> None:
        spec = host.spec
        candidate.check_task(spec, "candidate")
        self._host, self._candidate = host, candidate
        self._digest = host.policy.digest
        self._noise = _SharedNoise.of(host.policy, candidate)
        self._low, self._high = spec.action_low, spec.action_high
        self._span = spec.action_high.astype(np.float64) - spec.action_low
        self._names = [term.name for term in spec.action]
        self._waiting: queue.SimpleQueue[tuple[Observation, FloatArray] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._steps = self._refused = self._dropped = 0
        self.failure: str | None = None
        """Error that ended the comparing thread; None while it lives."""
        self._sums: NDArray[np.float64] = np.zeros(len(self._names))
        self._largest: NDArray[np.float64] = np.zeros(len(self._names))
        self._bins: NDArray[np.int64] = np.zeros(len(_EDGES) + 1, dtype=np.int64)
        self._thread = threading.Thread(target=self._compare, name="shadow", daemon=True)
        self._thread.start()
        host.listeners.add(self._on_step)

    def __enter__(self) -> Self:
        """Compare until the block ends."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop comparing."""
        self.close()

    def close(self) -> None:
        """Compare what waits in the queue, then stop. It may be called again.

        Raises:
            TimeoutError: the candidate still computes after 5 s; no other object may run it.
        """
        self._host.listeners.remove(self._on_step)
        self._waiting.put(None)
        self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            raise TimeoutError(
                f"the policy {self._candidate.digest[:12]} still computes after {_CLOSE_S:g} s"
            )

    def _on_step(self, observation: Observation, stamps: Stamps, decision: Decision) -> None:
        """Queue one step; the stepping thread calls this. A ramp's action is not the policy's."""
        del stamps
        if decision.verdict != "ok":
            return
        if self._waiting.qsize() >= _MAX_WAITING:
            self._dropped += 1
        else:
            action = decision.action if decision.policy_action is None else decision.policy_action
            self._waiting.put((observation.copy(), action))

    def _compare(self) -> None:
        try:
            while (step := self._waiting.get()) is not None:
                observation, action = step
                try:
                    if self._noise is None:
                        found = self._candidate.run(observation).copy()
                    else:
                        action, found = self._noise.actions(observation)
                except Exception:  # noqa: BLE001 - onnxruntime's errors have no class in common; counted
                    found = np.full_like(action, np.nan)
                with self._lock:
                    self._add(found, action)
        except BaseException as exc:  # noqa: BLE001 - the thread's end; the rollout reads it
            self.failure = f"{type(exc).__name__}: {exc}"

    def _add(self, found: FloatArray, action: FloatArray) -> None:
        self._steps += 1
        # NaN included.
        if found.shape != self._low.shape or not ((found >= self._low) & (found <= self._high)).all():
            self._refused += 1
            return
        shares = np.abs(found.astype(np.float64) - action) / self._span
        self._sums += shares
        np.maximum(self._largest, shares, out=self._largest)
        self._bins[np.searchsorted(_EDGES, shares.max())] += 1

    def divergence(self) -> Divergence:
        """Return the comparison so far. From any thread."""
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
        """Return the upper edge of the bin that holds a quantile, at most the largest difference."""
        index = int(np.searchsorted(np.cumsum(self._bins), share * compared))
        bound = float(_EDGES[index]) if index < len(_EDGES) else np.inf
        return min(bound, float(self._largest.max()))
