"""A new bundle's way into service: beside the one that serves, then in its place, and back if it fails.

    idle ── offer ──> shadow ── long enough, near enough ──> watch ── long enough ──> idle, it serves
                        │                                      │
                        ├── refused, too far off ──> idle,     ├── stop, late, failed, too far off
                        │                       rejected       │                   ──> idle, rolled back
                        └── replaced, withdrawn                └── withdrawn

In the shadow the new policy is compared with the one in service, in the watch the one before with the
new one. A bundle that failed either way is marked in the store and never taken again. One that serves
is the store's current one only after the watch: killed before that, a robot begins with the last that
was through. A stop that a new policy brought about stays latched after the way back: whether the robot
may move is for whoever stands beside it to say.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from pydantic import Field

from sacpipe.bundle.guard_settings import Cause
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError, StorageError
from sacpipe.robot.load_gate import AdmittedBundle
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence, Shadow
from sacpipe.rollout.bundle_store import BundleStore

Phase = Literal["idle", "shadow", "watch"]
PHASES: tuple[Phase, ...] = ("idle", "shadow", "watch")
Outcome = Literal["serves", "rejected", "rolled_back", "replaced", "withdrawn"]
_FAILURES: tuple[Cause, ...] = ("inference_failed", "action_not_finite", "action_outside_bounds")


class RolloutSettings(Config):
    """What a new bundle must show before it serves, and while it is new."""

    shadow_s: float = Field(ge=0)
    """How long it is compared at least."""
    min_shadow_steps: int = Field(ge=0)
    """Steps it is compared on at least, in the shadow and in the watch; a robot that stands still proves
    nothing."""
    max_divergence: float = Field(gt=0)
    """99 % of its actions must be nearer to those of the other policy, as a share of each action's range."""
    watch_s: float = Field(ge=0)
    """How long after the swap it may still be taken back."""
    max_deadline_misses: int = Field(ge=0)
    """Steps that may come late in that time."""


class RolloutEvent(Config):
    """What became of a bundle."""

    bundle_digest: str
    source: str
    outcome: Outcome
    """`replaced`: another bundle was offered before this one was through. `withdrawn`: its source names
    another now."""
    reason: str
    divergence: Divergence | None
    """Of the shadow; null where it never was one."""


class RolloutCandidate(NamedTuple):
    """A bundle on its way."""

    admitted: AdmittedBundle
    source: str
    before: str
    """Digest of the bundle that serves until it does."""

    @property
    def digest(self) -> str:
        """Of the bundle."""
        return self.admitted.report.bundle_digest


class Rollout:
    """Takes bundles into service, one at a time.

    `offer`, `tick` and `withdraw` are called by one thread at a time, which is not the one that acts.

    Args:
        in_service: What acts.
        store: Keeps the bundles, and which of them serves.
        settings: What is asked.
        clock_s: Seconds, of any origin.
    """

    def __init__(
        self,
        host: PolicyHost,
        store: BundleStore,
        settings: RolloutSettings,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._store, self._settings, self._clock_s = host, store, settings, clock_s
        self._phase: Phase = "idle"
        self._shadow: Shadow | None = None
        self._divergence: Divergence | None = None
        self._way: RolloutCandidate | None = None
        self._since_s = 0.0
        self._causes: dict[Cause, int] = {}
        self._stops = 0

    @property
    def phase(self) -> Phase:
        """What is being done."""
        return self._phase

    @property
    def way(self) -> RolloutCandidate | None:
        """What is on its way."""
        return self._way

    def divergence(self) -> Divergence | None:
        """Return what the comparison found so far that is going on now. From any thread."""
        shadow = self._shadow
        return None if shadow is None else shadow.divergence()

    def offer(self, admitted: AdmittedBundle, source: str) -> RolloutEvent | None:
        """Begin with a bundle that passed the gate; say what became of one that was not through yet.

        Args:
            admitted: Not the one in service; its policy is used by nobody else.
            source: What it was resolved from.

        Raises:
            BundleError: it is marked bad, or of another task; the policy in service goes on.
            StorageError: the store cannot be written.
        """
        if self._phase == "watch":
            raise BundleError(
                f"bundle {admitted.report.bundle_digest}: the one in service is new and still watched; offer "
                f"it again in {self._settings.watch_s:g} s."
            )
        admitted.policy.check_task(self._host.spec, "candidate")
        digest = self._store.add(admitted)
        interrupted = self._end("replaced", "another bundle was offered") if self._phase == "shadow" else None
        self._store.begin_trial(digest)  # before it is run: it may bring the process down
        try:
            self._shadow = Shadow(self._host, admitted.policy)
        except RuntimeError:  # no thread could be had
            self._end_trial(digest)
            raise
        self._way = RolloutCandidate(admitted, source, self._host.policy.digest)
        self._phase, self._since_s = "shadow", self._clock_s()
        return interrupted

    def tick(self) -> RolloutEvent | None:
        """Look at the bundle on its way, and say if something became of it. Call it a few times a second.

        Raises:
            StorageError: the store cannot be written; the phase stays, and the next tick tries again.
        """
        if self._phase == "shadow":
            return self._judge_shadow()
        if self._phase == "watch":
            return self._judge_watch()
        return None

    def withdraw(self, reason: str) -> RolloutEvent | None:
        """Take back what is on its way: the one that served before it serves. It is not bad by this."""
        if self._phase == "watch":
            self._host.rollback()
        return None if self._phase == "idle" else self._end("withdrawn", reason)

    def close(self) -> None:
        """Let a comparison end; the policy in service stays."""
        self._close_shadow()
        if self._way is not None:
            self._end_trial(self._way.digest)

    def _judge_shadow(self) -> RolloutEvent | None:
        assert self._shadow is not None  # noqa: S101 - there is one in this phase
        seen = self._shadow.divergence()
        if seen.refused:
            return self._reject(f"{seen.refused} of its actions would have been refused")
        if seen.steps < self._settings.min_shadow_steps or self._passed_s() < self._settings.shadow_s:
            return None
        if (fault := self._too_far(seen, "in service")) is not None:
            return self._reject(fault)
        return self._swap()

    def _too_far(self, seen: Divergence, whose: str) -> str | None:
        if seen.p99 <= self._settings.max_divergence:
            return None
        return (
            f"99 % of its actions are within {seen.p99:.3g} of those {whose}, as a share of the range; "
            f"expected {self._settings.max_divergence:g}"
        )

    def _swap(self) -> RolloutEvent | None:
        """Swap it in and watch it; where no thread can be had to watch it, it does not act either."""
        assert self._way is not None  # noqa: S101 - there is one in this phase
        clone_session = self._host.policy.clone_session()
        self._end_shadow()
        self._causes, self._stops = dict(self._host.causes), self._host.stops
        self._host.swap(self._way.admitted.policy)
        try:
            self._shadow = Shadow(self._host, clone_session)
        except RuntimeError as exc:
            self._host.rollback()
            return self._end("withdrawn", f"it cannot be watched: {exc}")
        self._phase, self._since_s = "watch", self._clock_s()
        return None

    def _judge_watch(self) -> RolloutEvent | None:
        if failed := self._failures():
            return self._roll_back("; ".join(failed))
        assert self._way is not None and self._shadow is not None  # noqa: PT018, S101 - both are in this phase
        seen = self._shadow.divergence()
        if seen.steps < self._settings.min_shadow_steps or self._passed_s() < self._settings.watch_s:
            return None
        self._store.add(self._way.admitted)  # mends it, should the disk have lost some of it meanwhile
        self._store.set_current(self._way.digest, self._way.source)
        return self._end("serves", f"watched for {self._settings.watch_s:g} s")

    def _failures(self) -> list[str]:
        """Say what speaks against the policy that was swapped in, since then."""
        assert self._shadow is not None  # noqa: S101 - there is one in this phase
        host, settings = self._host, self._settings
        grown = {cause: count - self._causes[cause] for cause, count in host.causes.items()}
        failed = [f"{cause}: {grown[cause]}" for cause in _FAILURES if grown[cause]]
        if (misses := grown["deadline_missed"]) > settings.max_deadline_misses:
            failed.append(f"deadline_missed: {misses}, expected at most {settings.max_deadline_misses}")
        if host.stops > self._stops:
            failed.append("the robot was stopped")
        seen = self._shadow.divergence()
        if (
            seen.steps >= settings.min_shadow_steps
            and (fault := self._too_far(seen, "of the one before")) is not None
        ):
            failed.append(fault)
        return failed

    def _reject(self, reason: str) -> RolloutEvent:
        return self._end("rejected", self._mark_bad(reason))

    def _roll_back(self, reason: str) -> RolloutEvent:
        self._host.rollback()
        return self._end("rolled_back", self._mark_bad(reason))

    def _mark_bad(self, reason: str) -> str:
        """Mark it and return the reason; a disk that is full does not keep the robot from going back."""
        assert self._way is not None  # noqa: S101 - there is one in every phase but idle
        try:
            self._store.mark_bad(self._way.digest, reason)
        except StorageError as exc:
            return f"{reason}; this is known until the process ends only: {exc}"
        return reason

    def _end(self, outcome: Outcome, reason: str) -> RolloutEvent:
        assert self._way is not None  # noqa: S101 - there is one in every phase but idle
        if self._phase == "shadow":
            self._end_shadow()
        self.close()  # and its trial, where it is neither current nor bad
        event = RolloutEvent(
            bundle_digest=self._way.digest,
            source=self._way.source,
            outcome=outcome,
            reason=reason,
            divergence=self._divergence,
        )
        with contextlib.suppress(StorageError):  # a full disk keeps no robot from going back
            self._store.keep_evidence(event.bundle_digest, event.as_tree() | {"ended_unix_s": time.time()})
        self._way, self._divergence, self._phase = None, None, "idle"
        return event

    def _end_shadow(self) -> None:
        """Keep what the shadow found: what is compared in the watch is the policy before it."""
        if (shadow := self._shadow) is not None:
            self._close_shadow()
            self._divergence = shadow.divergence()

    def _close_shadow(self) -> None:
        if self._shadow is not None:
            self._shadow.close()
            self._shadow = None

    def _end_trial(self, digest: str) -> None:
        with contextlib.suppress(StorageError):  # a full disk: at worst this counts as a death
            self._store.end_trial(digest)

    def _passed_s(self) -> float:
        return self._clock_s() - self._since_s
