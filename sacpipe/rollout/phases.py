"""The phases of a rollout, one class each. A phase has only what exists in it, and returns the next phase.

    Idle ── offer ──> ShadowPhase ── long enough, near enough ──> WatchPhase ── long enough ──> Idle: accepted
                        │                                           │
                        ├── refused, too far off                    ├── stop, late, failed, too far off
                        │           ──> Idle: rejected              │           ──> Idle: rolled back
                        └── replaced, withdrawn, error              └── withdrawn, error
                                    ──> Idle                                    ──> Idle: withdrawn

In the shadow phase the candidate is compared with the policy in service; in the watch phase the candidate is
in service, and the previous policy is compared with it. A candidate that failed either phase is marked bad in
the store and never used again. Where the host refuses to roll back, the RollbackPhase tries again at every
tick. After a candidate, the previous policy acts, unless it was barred meanwhile
(sacpipe/rollout/fallback.py); where no policy may act, the host is halted, and Idle is Halted.

`withdraw` and `abort` never raise. `tick` raises only where the phase can go on as if it had not been called.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, Self, get_args

from sacpipe.robot.armed_guards import ArmedGuards
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence, Shadow
from sacpipe.rollout.context import Ending, RolloutCandidate, RolloutContext, RolloutEvent, describe_error

PhaseName = Literal["idle", "shadow", "watch", "rollback", "halted"]
PHASE_NAMES: tuple[PhaseName, ...] = get_args(PhaseName)
_EXCUSED = ("action_change", "deadline_missed")
"""Guards of actions whose refusals are no failure of the candidate. `deadline_missed` has its own limit."""


class _Phase:
    """What phases have in common."""

    def withdraw(self, reason: str) -> "PhaseChange":
        """End what is under way and give the robot the policy before it, which is not marked bad."""
        return self.abort(Ending("withdrawn", reason, is_bad=False))

    def abort(self, ending: Ending) -> "PhaseChange":
        """Go on as at a tick where there is nothing to end, or it ends already."""
        del ending
        return self.tick()

    @abstractmethod
    def tick(self) -> "PhaseChange":
        """Return the next phase."""


class Idle(_Phase):
    """No bundle is in rollout."""

    name: ClassVar[PhaseName] = "idle"
    candidate: ClassVar[None] = None

    def divergence(self) -> None:
        """Return None: nothing is compared."""

    def tick(self) -> "PhaseChange":
        """Stay idle."""
        return PhaseChange(self, None)

    def close(self) -> None:
        """Do nothing."""


class Halted(Idle):
    """No policy may act: the robot is stopped until the next bundle, which begins to act at once."""

    name: ClassVar[PhaseName] = "halted"


@dataclass(frozen=True, eq=False, slots=True)
class _Comparing(_Phase):
    """What the phases have in common that compare the candidate with the other policy."""

    context: RolloutContext
    candidate: RolloutCandidate
    shadow: Shadow
    """Runs the policy that is not in service."""
    since_s: float
    """Start of the phase, which for the watch phase is the swap, in seconds of the context's clock."""

    @property
    def is_barred(self) -> bool:
        """Whether the candidate is barred: it passes no phase and waits until it is withdrawn."""
        return self.candidate.digest in self.context.store.barred

    def divergence(self) -> Divergence:
        """Return the comparison so far."""
        return self.shadow.divergence()


@dataclass(frozen=True, eq=False, slots=True)
class ShadowPhase(_Comparing):
    """The candidate's actions are compared with those of the policy in service, and never executed."""

    name: ClassVar[PhaseName] = "shadow"

    @classmethod
    def begin(cls, context: RolloutContext, candidate: RolloutCandidate) -> Self:
        """Begin the trial of a candidate that is in the store.

        Raises:
            StorageError: the store cannot be written.
            Exception: the comparison could not begin, for example because no thread could be started.
        """
        since_s = context.clock_s()
        context.store.begin_trial(candidate.digest)  # before it runs: it may crash the process
        try:
            shadow = Shadow(context.host, candidate.admitted.policy)
        except Exception as exc:
            context.end(candidate, Ending("withdrawn", describe_error(exc), is_bad=False), None, None)
            raise
        return cls(context, candidate, shadow, since_s)

    def tick(self) -> "PhaseChange":
        """Reject the candidate, swap it in, or go on.

        Raises:
            Exception: nothing has changed; the phase goes on.
        """
        context, found = self.context, self.shadow.divergence()
        _check_comparing(self.shadow)
        if found.refused:
            return self._reject(f"{found.refused} of its actions would have been refused")
        is_long_enough = context.is_long_enough(found, self.since_s, context.settings.shadow_s)
        if not is_long_enough or self.is_barred:
            return PhaseChange(self, None)
        if (excess := context.find_excess(found, "in service")) is not None:
            return self._reject(excess)
        previous = context.host.policy
        return self._swap(previous, previous.clone_session(), found)

    def abort(self, ending: Ending) -> "PhaseChange":
        """End the comparison and the rollout."""
        return PhaseChange(Idle(), self.context.end(self.candidate, ending, self.shadow, None))

    def close(self) -> None:
        """End the comparison because the process ends."""
        self.withdraw("the process ends")

    def _reject(self, reason: str) -> "PhaseChange":
        return self.abort(Ending("rejected", reason, is_bad=True))

    def _swap(self, previous: OnnxPolicy, clone: OnnxPolicy, found: Divergence) -> "PhaseChange":
        """Swap the candidate in and watch it; where that fails, the previous policy is active again."""
        context, candidate = self.context, self.candidate
        try:
            self.shadow.close()  # ends the thread that runs the candidate
            found = self.shadow.divergence()
            excused = _excused(candidate.admitted.policy)
            causes, stops, errors = dict(context.host.causes), context.host.stops, _errors(context.host)
            since_s = context.clock_s()
            context.host.swap(candidate.admitted.policy)
            shadow = Shadow(context.host, clone)
        except Exception as exc:  # noqa: BLE001 - whatever failed, the previous policy must be active
            reason = f"it cannot be watched: {str(exc) or type(exc).__name__}"
            ending = Ending("withdrawn", reason, is_bad=False)
            return RollbackPhase(context, candidate, previous, ending, self.shadow, None).tick()
        return PhaseChange(
            WatchPhase(context, candidate, shadow, since_s, previous, found, excused, causes, stops, errors),
            None,
        )


@dataclass(frozen=True, eq=False, slots=True)
class WatchPhase(_Comparing):
    """The candidate is in service, and the previous policy stays loaded for a rollback."""

    name: ClassVar[PhaseName] = "watch"

    previous: OnnxPolicy
    """The policy before the swap, which is compared with the candidate."""
    shadow_divergence: Divergence
    """Comparison of the shadow phase."""
    excused: frozenset[str]
    """Causes that are no failure of the candidate."""
    causes: dict[str, int]
    """Number of refusals by each guard before the swap."""
    stops: int
    """Number of stops latched before the swap."""
    errors: int
    """Number of unexpected errors of the host before the swap."""

    def tick(self) -> "PhaseChange":
        """Roll back, make the candidate the store's current bundle, or go on.

        Raises:
            Exception: nothing has changed; the phase goes on. A StorageError: the store cannot be written.
        """
        context, candidate = self.context, self.candidate
        if failures := self._failures():
            return self.abort(Ending("rolled_back", "; ".join(failures), is_bad=True))
        _check_comparing(self.shadow)
        watch_s = context.settings.watch_s
        is_long_enough = context.is_long_enough(self.shadow.divergence(), self.since_s, watch_s)
        if not is_long_enough or self.is_barred:
            return PhaseChange(self, None)
        context.store.add(candidate.admitted)  # repairs it, should the disk have lost some of it
        context.store.set_current(candidate.digest, candidate.source)
        ending = Ending("accepted", f"watched for {watch_s:g} s", is_bad=False)
        return PhaseChange(Idle(), context.end(candidate, ending, self.shadow, self.shadow_divergence))

    def abort(self, ending: Ending) -> "PhaseChange":
        """Roll back to the previous policy and end the rollout."""
        phase = RollbackPhase(
            self.context, self.candidate, self.previous, ending, self.shadow, self.shadow_divergence
        )
        return phase.tick()

    def close(self) -> None:
        """End the comparison because the process ends; the policy in service stays."""
        ending = Ending("withdrawn", "the process ends", is_bad=False)
        self.context.end(self.candidate, ending, self.shadow, self.shadow_divergence)

    def _failures(self) -> list[str]:
        """Return the failures of the candidate since the swap."""
        host, settings = self.context.host, self.context.settings
        causes = dict(host.causes)  # a copy: the stepping thread may add a cause
        since_swap = {cause: count - self.causes.get(cause, 0) for cause, count in causes.items()}
        failed = {cause: count for cause, count in since_swap.items() if cause not in self.excused}
        failures = [f"{cause}: {count}" for cause, count in failed.items() if count > 0]
        if (misses := since_swap.get("deadline_missed", 0)) > settings.max_deadline_misses:
            failures.append(f"deadline_missed: {misses}, expected at most {settings.max_deadline_misses}")
        if host.stops > self.stops:
            failures.append("the robot was stopped")
        if (errors := _errors(host) - self.errors) > 0:
            failures.append(f"unexpected errors: {errors}")
        found = self.shadow.divergence()
        if found.steps >= settings.min_shadow_steps:
            excess = self.context.find_excess(found, "of the previous policy")
            failures += [] if excess is None else [excess]
        return failures


@dataclass(frozen=True, eq=False, slots=True)
class RollbackPhase(_Phase):
    """The candidate has to go, and the host has not rolled back yet. Every tick tries again."""

    name: ClassVar[PhaseName] = "rollback"

    context: RolloutContext
    candidate: RolloutCandidate
    previous: OnnxPolicy
    """The policy before the swap."""
    ending: Ending
    """How the rollout ends after the rollback."""
    shadow: Shadow
    """Comparison that is closed after the rollback."""
    shadow_divergence: Divergence | None
    """Comparison of the shadow phase; None where `shadow` is that comparison."""
    fault: str = ""
    """Error of the last try; empty before the first."""

    def divergence(self) -> Divergence | None:
        """Return the comparison of the shadow phase."""
        return self.shadow_divergence

    def tick(self) -> "PhaseChange":
        """Roll back and end the rollout; go on where the host refuses."""
        context, candidate, ending = self.context, self.candidate, self.ending
        found = context.restore(candidate, self.previous, is_bad=ending.is_bad)
        if not found.is_done:
            return PhaseChange(replace(self, fault=found.fault), None)
        notes = [ending.reason, found.note]
        if faults := "; ".join(filter(None, (self.fault, found.fault))):
            notes.append(f"the rollback failed at first: {faults}")
        ending = ending._replace(reason="; ".join(filter(None, notes)))
        event = context.end(candidate, ending, self.shadow, self.shadow_divergence)
        return PhaseChange(Halted() if found.is_halted else Idle(), event)

    def close(self) -> None:
        """Try once more because the process ends."""
        self.tick()


Phase = Idle | ShadowPhase | WatchPhase | RollbackPhase


class PhaseChange(NamedTuple):
    """Result of a tick or of a withdrawal."""

    phase: Phase
    """The next phase; the same object where the phase goes on."""
    event: RolloutEvent | None
    """End of the rollout; None where it goes on or none is under way."""


def _check_comparing(shadow: Shadow) -> None:
    """Check that a comparison's thread lives: without it, no phase would end.

    Raises:
        RuntimeError: it ended.
    """
    if shadow.failure is not None:
        raise RuntimeError(f"the comparison ended: {shadow.failure}")


def _excused(policy: OnnxPolicy) -> frozenset[str]:
    """Return the causes that are no failure of a policy: the guards of observations, and a few others."""
    contract = policy.contract
    armed = ArmedGuards.of(contract.runtime, contract, contract.spec.control_period_s)
    return frozenset((*_EXCUSED, *(name for name, _ in armed.observation)))


def _errors(host: PolicyHost) -> int:
    """Return the number of unexpected errors of a host since its start; 0 where it does not count them."""
    return int(getattr(host, "unexpected_errors", 0))
