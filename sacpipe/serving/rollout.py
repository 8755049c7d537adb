"""A new bundle's way into service: beside the one that serves, then in its place, and back if it fails.

    idle ── offer ──> shadow ── long enough, near enough ──> watch ── long enough ──> idle, it serves
                        │                                      │
                        └── refused, too far off ──> idle      └── stop, late, failed ──> idle, rolled back

A bundle that failed either way is marked in the store and never taken again. A stop that a new
policy brought about stays latched after the way back: whether the robot may move is for whoever stands
beside it to say.
"""

import time
from collections.abc import Callable
from typing import Literal

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError
from sacpipe.core.guards import Cause
from sacpipe.serving.gate import Admitted
from sacpipe.serving.runtime import Runtime
from sacpipe.serving.shadow import Divergence, Shadow
from sacpipe.serving.store import BundleStore

Phase = Literal["idle", "shadow", "watch"]
_FAILURES: tuple[Cause, ...] = ("inference_failed", "action_not_finite", "action_outside_bounds")


class RolloutTerms(Config):
    """What a new bundle must show before it serves, and while it is new."""

    shadow_s: float = Field(ge=0)
    """How long it is compared at least."""
    min_shadow_steps: int = Field(ge=0)
    """Steps it is compared on at least; a robot that stands still proves nothing."""
    max_divergence: float = Field(gt=0)
    """99 % of its actions must be nearer to those in service, as a share of each action's range."""
    watch_s: float = Field(ge=0)
    """How long after the swap it may still be taken back."""
    max_deadline_misses: int = Field(ge=0)
    """Steps that may come late in that time."""


class RolloutEvent(Config):
    """What became of a bundle."""

    bundle_digest: str
    source: str
    outcome: Literal["serves", "rejected", "rolled_back", "replaced"]
    """`replaced`: another bundle was offered before this one was through."""
    reason: str
    divergence: Divergence | None
    """Of the shadow; null where it never was one."""


class Rollout:
    """Takes bundles into service, one at a time.

    `offer` and `tick` are called by one thread, which is not the control thread.

    Args:
        runtime: In service.
        store: Keeps the bundles, and which of them serves.
        terms: What is asked.
        clock_s: Seconds, of any origin.
    """

    def __init__(
        self,
        runtime: Runtime,
        store: BundleStore,
        terms: RolloutTerms,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runtime, self._store, self._terms, self._clock_s = runtime, store, terms, clock_s
        self._phase: Phase = "idle"
        self._shadow: Shadow | None = None
        self._divergence: Divergence | None = None
        self._new: tuple[Admitted, str] | None = None
        self._since_s = 0.0
        self._causes: dict[Cause, int] = {}

    @property
    def phase(self) -> Phase:
        """What is being done."""
        return self._phase

    def offer(self, admitted: Admitted, source: str) -> RolloutEvent | None:
        """Begin with a bundle that passed the gate; say what became of one that was not through yet.

        Args:
            admitted: Not the one in service; its policy is used by nobody else.
            source: What it was resolved from.

        Raises:
            BundleError: it is marked bad, or of another task; the policy in service goes on.
            StorageError: the store cannot be written.
        """
        self._store.add(admitted)
        interrupted = self._end("replaced", "another bundle was offered") if self._phase == "shadow" else None
        if self._phase == "watch":
            raise BundleError(
                f"bundle {admitted.report.bundle_digest}: the one in service is new and still watched; offer "
                f"it again in {self._terms.watch_s:g} s."
            )
        self._shadow = Shadow(self._runtime, admitted.policy)
        self._new, self._phase, self._since_s = (admitted, source), "shadow", self._clock_s()
        return interrupted

    def tick(self) -> RolloutEvent | None:
        """Look at the bundle on its way, and say if something became of it. Call it a few times a second."""
        if self._phase == "shadow":
            return self._judge_shadow()
        if self._phase == "watch":
            return self._judge_watch()
        return None

    def close(self) -> None:
        """Let a shadow end; the policy in service stays."""
        if self._shadow is not None:
            self._shadow.close()
            self._shadow = None

    def _judge_shadow(self) -> RolloutEvent | None:
        assert self._shadow is not None  # noqa: S101 - there is one in this phase
        terms, seen = self._terms, self._shadow.divergence()
        if seen.refused:
            return self._reject(f"{seen.refused} of its actions would have been refused")
        if seen.steps < terms.min_shadow_steps or self._passed_s() < terms.shadow_s:
            return None
        if seen.p99 > terms.max_divergence:
            return self._reject(
                f"99 % of its actions are within {seen.p99:.3g} of those in service, as a share of the "
                f"range; expected {terms.max_divergence:g}"
            )
        self._swap()
        return None

    def _swap(self) -> None:
        assert self._new is not None  # noqa: S101 - there is one in this phase
        admitted, source = self._new
        self._close_shadow()
        self._causes = dict(self._runtime.causes)
        self._store.set_current(admitted.report.bundle_digest, source)
        self._runtime.swap(admitted.policy)
        self._phase, self._since_s = "watch", self._clock_s()

    def _judge_watch(self) -> RolloutEvent | None:
        grown = {cause: count - self._causes[cause] for cause, count in self._runtime.causes.items()}
        failed = [f"{cause}: {grown[cause]}" for cause in _FAILURES if grown[cause]]
        if grown["deadline_missed"] > self._terms.max_deadline_misses:
            failed.append(
                f"deadline_missed: {grown['deadline_missed']}, expected at most "
                f"{self._terms.max_deadline_misses}"
            )
        if self._runtime.is_stopped:
            failed.append("the robot was stopped")
        if failed:
            return self._roll_back("; ".join(failed))
        if self._passed_s() < self._terms.watch_s:
            return None
        return self._end("serves", f"watched for {self._terms.watch_s:g} s")

    def _reject(self, reason: str) -> RolloutEvent:
        self._mark_bad(reason)
        return self._end("rejected", reason)

    def _roll_back(self, reason: str) -> RolloutEvent:
        self._runtime.rollback()
        self._mark_bad(reason)
        return self._end("rolled_back", reason)

    def _mark_bad(self, reason: str) -> None:
        assert self._new is not None  # noqa: S101 - there is one in every phase but idle
        self._store.mark_bad(self._new[0].report.bundle_digest, reason)

    def _end(
        self, outcome: Literal["serves", "rejected", "rolled_back", "replaced"], reason: str
    ) -> RolloutEvent:
        assert self._new is not None  # noqa: S101 - there is one in every phase but idle
        (admitted, source), self._new = self._new, None
        self._close_shadow()
        divergence, self._divergence, self._phase = self._divergence, None, "idle"
        return RolloutEvent(
            bundle_digest=admitted.report.bundle_digest,
            source=source,
            outcome=outcome,
            reason=reason,
            divergence=divergence,
        )

    def _close_shadow(self) -> None:
        if self._shadow is not None:
            self._shadow.close()
            self._divergence, self._shadow = self._shadow.divergence(), None

    def _passed_s(self) -> float:
        return self._clock_s() - self._since_s
