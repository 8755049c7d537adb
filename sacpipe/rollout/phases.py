"""The phases of a rollout, one class each. A phase holds only the data it needs, and returns the next.

    Idle ── offer ──> ShadowPhase ── long enough, near enough ──> WatchPhase ── long enough ──> Idle: serves
                        │                                           │
                        ├── refused, too far off                    ├── stop, late, failed, too far off
                        │           ──> Idle: rejected              │           ──> Idle: rolled back
                        └── replaced, withdrawn                     └── withdrawn
                                    ──> Idle                                    ──> Idle

In the shadow phase the candidate is compared with the policy in service; in the watch phase the candidate is
in service, and the previous policy is compared with it. A candidate that failed either phase is marked bad in
the store and never used again.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self, get_args

from sacpipe.bundle.guard_settings import Cause
from sacpipe.core.config import Config
from sacpipe.core.errors import StorageError
from sacpipe.robot.load_gate import AdmittedBundle
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence, Shadow
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import RolloutSettings

PhaseName = Literal["idle", "shadow", "watch"]
PHASE_NAMES: tuple[PhaseName, ...] = get_args(PhaseName)
Outcome = Literal["serves", "rejected", "rolled_back", "replaced", "withdrawn"]
"""How a rollout ended. `replaced`: another bundle was offered in the shadow phase. `withdrawn`: the source
names another bundle now, or no thread could be started to watch the candidate."""
_FAILURES: tuple[Cause, ...] = ("inference_failed", "action_not_finite", "action_outside_bounds")


class RolloutEvent(Config):
    """End of a candidate's rollout; the store keeps it as evidence."""

    bundle_digest: str
    source: str
    outcome: Outcome
    reason: str
    divergence: Divergence | None
    """Comparison of the shadow phase."""


class RolloutCandidate(NamedTuple):
    """A bundle in rollout."""

    admitted: AdmittedBundle
    source: str
    """Path, or alias with version, from which it was resolved."""

    @property
    def digest(self) -> str:
        """Digest of the bundle."""
        return self.admitted.report.bundle_digest


@dataclass(frozen=True, eq=False, slots=True)
class RolloutContext:
    """What every phase works with."""

    host: PolicyHost
    store: BundleStore
    settings: RolloutSettings
    clock_s: Callable[[], float]

    def mark_bad(self, candidate: RolloutCandidate, reason: str) -> str:
        """Mark a candidate bad and return the reason. A full disk does not prevent the rollback."""
        try:
            self.store.mark_bad(candidate.digest, reason)
        except StorageError as exc:
            return f"{reason}; not written to the store, so a restart forgets it: {exc}"
        return reason

    def end_trial(self, candidate: RolloutCandidate) -> None:
        """Record that this process survived the trial, unless the candidate is current or bad already."""
        with contextlib.suppress(StorageError):  # a full disk: at worst this counts as a death
            self.store.end_trial(candidate.digest)

    def end(
        self, candidate: RolloutCandidate, outcome: Outcome, reason: str, divergence: Divergence
    ) -> "PhaseChange":
        """End the rollout of a candidate and keep the evidence."""
        self.end_trial(candidate)
        event = RolloutEvent(
            bundle_digest=candidate.digest,
            source=candidate.source,
            outcome=outcome,
            reason=reason,
            divergence=divergence,
        )
        with contextlib.suppress(StorageError):  # a full disk does not prevent the rollback
            self.store.keep_evidence(event.bundle_digest, event.as_tree() | {"ended_unix_s": time.time()})
        return PhaseChange(Idle(), event)

    def find_excess(self, found: Divergence, whose: str) -> str | None:
        """Return by how much a comparison exceeds the allowed divergence; None where it does not.

        Args:
            found: Result of the comparison.
            whose: The policy that the candidate is compared with, for the message.
        """
        if found.p99 <= self.settings.max_divergence:
            return None
        return (
            f"99 % of its actions are within {found.p99:.3g} of those {whose}, as a share of the range; "
            f"expected {self.settings.max_divergence:g}"
        )

    def is_long_enough(self, found: Divergence, since_s: float, min_s: float) -> bool:
        """Return whether a phase compared enough steps for enough time."""
        return found.steps >= self.settings.min_shadow_steps and self.clock_s() - since_s >= min_s


class Idle:
    """No bundle is in rollout."""

    name: ClassVar[PhaseName] = "idle"
    candidate: ClassVar[None] = None

    def divergence(self) -> None:
        """Return None: nothing is compared."""

    def tick(self) -> "PhaseChange":
        """Stay idle."""
        return PhaseChange(self, None)

    def withdraw(self, reason: str) -> "PhaseChange":
        """Stay idle: there is nothing to withdraw."""
        del reason
        return PhaseChange(self, None)

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, eq=False, slots=True)
class ShadowPhase:
    """The candidate's actions are compared with those of the policy in service, and never executed."""

    name: ClassVar[PhaseName] = "shadow"

    context: RolloutContext
    candidate: RolloutCandidate
    shadow: Shadow
    """Compares the candidate with the policy in service."""
    since_s: float
    """Start of the phase, in seconds of the context's clock."""

    @classmethod
    def begin(cls, context: RolloutContext, candidate: RolloutCandidate) -> Self:
        """Begin the trial of a candidate that is in the store.

        Raises:
            StorageError: the store cannot be written.
            RuntimeError: no thread could be started.
        """
        context.store.begin_trial(candidate.digest)  # before it runs: it may crash the process
        try:
            shadow = Shadow(context.host, candidate.admitted.policy)
        except RuntimeError:
            context.end_trial(candidate)
            raise
        return cls(context, candidate, shadow, context.clock_s())

    def divergence(self) -> Divergence:
        """Return the comparison so far."""
        return self.shadow.divergence()

    def tick(self) -> "PhaseChange":
        """Reject the candidate, swap it in, or go on.

        Raises:
            RuntimeError: the policy in service could not be cloned; the phase goes on.
        """
        context, found = self.context, self.shadow.divergence()
        if found.refused:
            return self._reject(f"{found.refused} of its actions would have been refused")
        if not context.is_long_enough(found, self.since_s, context.settings.shadow_s):
            return PhaseChange(self, None)
        if (excess := context.find_excess(found, "in service")) is not None:
            return self._reject(excess)
        return self._swap()

    def withdraw(self, reason: str) -> "PhaseChange":
        """End the comparison; the policy in service stays."""
        return self.end("withdrawn", reason)

    def end(self, outcome: Outcome, reason: str) -> "PhaseChange":
        """End the comparison and the rollout."""
        self.shadow.close()
        return self.context.end(self.candidate, outcome, reason, self.shadow.divergence())

    def close(self) -> None:
        """End the comparison because the process ends."""
        self.shadow.close()
        self.context.end_trial(self.candidate)

    def _reject(self, reason: str) -> "PhaseChange":
        return self.end("rejected", self.context.mark_bad(self.candidate, reason))

    def _swap(self) -> "PhaseChange":
        """Swap the candidate in and watch it; where no thread can be started for that, swap it out again."""
        host = self.context.host
        previous = host.policy.clone_session()
        self.shadow.close()
        divergence, causes, stops = self.shadow.divergence(), dict(host.causes), host.stops
        host.swap(self.candidate.admitted.policy)
        try:
            shadow = Shadow(host, previous)
        except RuntimeError as exc:
            host.rollback()
            reason = f"it cannot be watched: {exc}"
            return self.context.end(self.candidate, "withdrawn", reason, divergence)
        now_s = self.context.clock_s()
        return PhaseChange(
            WatchPhase(self.context, self.candidate, shadow, now_s, divergence, causes, stops), None
        )


@dataclass(frozen=True, eq=False, slots=True)
class WatchPhase:
    """The candidate is in service, and the previous policy stays loaded for a rollback."""

    name: ClassVar[PhaseName] = "watch"

    context: RolloutContext
    candidate: RolloutCandidate
    shadow: Shadow
    """Compares the previous policy with the candidate."""
    since_s: float
    """Time of the swap, in seconds of the context's clock."""
    shadow_divergence: Divergence
    """Comparison of the shadow phase."""
    causes: dict[Cause, int]
    """Number of refusals by each guard before the swap."""
    stops: int
    """Number of stops latched before the swap."""

    def divergence(self) -> Divergence:
        """Return the comparison so far."""
        return self.shadow.divergence()

    def tick(self) -> "PhaseChange":
        """Roll back, make the candidate the store's current bundle, or go on.

        Raises:
            StorageError: the store cannot be written; the phase goes on.
        """
        context = self.context
        if failures := self._failures():
            context.host.rollback()
            return self._end("rolled_back", context.mark_bad(self.candidate, "; ".join(failures)))
        watch_s = context.settings.watch_s
        if not context.is_long_enough(self.shadow.divergence(), self.since_s, watch_s):
            return PhaseChange(self, None)
        context.store.add(self.candidate.admitted)  # repairs it, should the disk have lost some of it
        context.store.set_current(self.candidate.digest, self.candidate.source)
        return self._end("serves", f"watched for {watch_s:g} s")

    def withdraw(self, reason: str) -> "PhaseChange":
        """Roll back to the previous policy. The candidate is not marked bad."""
        self.context.host.rollback()
        return self._end("withdrawn", reason)

    def close(self) -> None:
        """End the comparison because the process ends; the policy in service stays."""
        self.shadow.close()
        self.context.end_trial(self.candidate)

    def _end(self, outcome: Outcome, reason: str) -> "PhaseChange":
        self.shadow.close()
        return self.context.end(self.candidate, outcome, reason, self.shadow_divergence)

    def _failures(self) -> list[str]:
        """Return the failures of the candidate since the swap."""
        host, settings = self.context.host, self.context.settings
        since_swap = {cause: count - self.causes[cause] for cause, count in host.causes.items()}
        failures = [f"{cause}: {since_swap[cause]}" for cause in _FAILURES if since_swap[cause]]
        if (misses := since_swap["deadline_missed"]) > settings.max_deadline_misses:
            failures.append(f"deadline_missed: {misses}, expected at most {settings.max_deadline_misses}")
        if host.stops > self.stops:
            failures.append("the robot was stopped")
        found = self.shadow.divergence()
        if found.steps >= settings.min_shadow_steps:
            excess = self.context.find_excess(found, "of the previous policy")
            failures += [] if excess is None else [excess]
        return failures


Phase = Idle | ShadowPhase | WatchPhase


class PhaseChange(NamedTuple):
    """Result of a tick or of a withdrawal."""

    phase: Phase
    """The next phase; the same object where the phase goes on."""
    event: RolloutEvent | None
    """End of the rollout; None where it goes on or none is under way."""
