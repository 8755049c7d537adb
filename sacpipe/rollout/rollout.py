"""A rollout: an admitted bundle in the shadow, then in service under watch, and a rollback where it fails.

sacpipe/rollout/phases.py has the phases. A bundle becomes the store's current one only after its watch phase:
where the process is killed before, the robot starts with the bundle that was current before. A stop that a
candidate caused stays latched after the rollback: the operator beside the robot decides whether it may move.

An error leaves no phase half way. In the shadow phase, and where the store cannot be written at the end of
the watch phase, the next ticks try again. Then, and after any other error in the watch phase, the previous
policy is active and the rollout is `withdrawn`. After three rollouts that such errors ended, the bundle is
refused until the process ends, except where only the store could not be written.
"""

import time
from collections.abc import Callable

from sacpipe.core.errors import BundleError, StorageError
from sacpipe.robot.load_gate import AdmittedBundle
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.context import Ending, RolloutCandidate, RolloutContext, RolloutEvent, describe_error
from sacpipe.rollout.fallback import Fallback
from sacpipe.rollout.follow_settings import RolloutSettings
from sacpipe.rollout.phases import Halted, Idle, Phase, PhaseName, RollbackPhase, ShadowPhase, WatchPhase

_MAX_TICKS = 3
"""Number of ticks in a row that may fail in the shadow phase."""
_MAX_UNWRITTEN_S = 60.0
"""Time for which the end of the watch phase may not be written to the store, in seconds."""
_MAX_ABORTED = 3
"""Number of rollouts of one bundle that errors may end; then the bundle is refused."""


class Rollout:
    """Makes bundles active, one at a time.

    One thread at a time calls `offer`, `tick` and `withdraw`; it is not the thread that steps the host.

    Args:
        host: Runs the policy in service.
        store: Keeps the bundles, and which of them is current.
        settings: Lengths and limits of the phases.
        clock_s: Any monotonic clock, in seconds.
    """

    def __init__(
        self,
        host: PolicyHost,
        store: BundleStore,
        settings: RolloutSettings,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = RolloutContext(host, store, settings, clock_s, Fallback(store))
        self._phase: Phase = Idle()
        self._failing_ticks, self._failing_since_s = 0, 0.0
        self._aborted: dict[str, int] = {}
        """Number of rollouts that errors ended, by digest."""
        self._failed: dict[str, str] = {}
        """Reasons by digest of candidates that failed, even where the store could not write them."""
        self._unreported: RolloutEvent | None = None

    @property
    def phase(self) -> PhaseName:
        """Name of the current phase. From any thread."""
        return self._phase.name

    @property
    def candidate(self) -> RolloutCandidate | None:
        """The bundle in rollout; None while idle. From any thread."""
        return self._phase.candidate

    @property
    def fault(self) -> str:
        """Error for which the host has not rolled back yet; empty outside the rollback phase."""
        phase = self._phase
        return phase.fault if isinstance(phase, RollbackPhase) else ""

    def refusal(self, digest: str) -> str | None:
        """Return why a bundle is not taken by this process; None where it may be offered."""
        if (reason := self._context.store.bad.get(digest)) is not None:
            return f"it is marked bad: {reason}"
        if (reason := self._context.store.barred.get(digest)) is not None:
            return f"it is barred: {reason}"
        if (reason := self._failed.get(digest)) is not None:
            return f"it failed in this process: {reason}"
        if (count := self._aborted.get(digest, 0)) >= _MAX_ABORTED:
            return f"errors ended {count} of its rollouts; restart the process to try it again"
        return None

    def divergence(self) -> Divergence | None:
        """Return the comparison so far of the current phase; None while idle. From any thread."""
        return self._phase.divergence()

    def offer(self, admitted: AdmittedBundle, source: str) -> RolloutEvent | None:
        """Begin the shadow phase of a bundle. A bundle that is in its shadow phase is replaced.

        While the host is halted, the bundle is in service at once: there is no policy to compare it with. It
        is, too, where the store cannot be written: then a restart does not know it.

        Args:
            admitted: Not the bundle in service. No other object may run its policy.
            source: Path, or alias with version, from which it was resolved.

        Returns:
            End of the rollout of the bundle that was replaced; None where there was none.

        Raises:
            BundleError: another bundle is in its watch phase; or this one is bad, barred, or of another task.
                The policy in service goes on.
            StorageError: the store cannot be written.
            Exception: the comparison could not begin, for example because no thread could be started.
        """
        context, phase = self._context, self._phase
        digest = admitted.report.bundle_digest
        if isinstance(phase, WatchPhase | RollbackPhase):
            raise BundleError(
                f"bundle {digest}: the bundle in service is new and still watched; "
                f"offer this one again in {context.settings.watch_s:g} s."
            )
        admitted.policy.check_task(context.host.spec, "candidate")
        if isinstance(phase, Halted):
            self._end_halt(admitted, source)
            return None
        context.store.add(admitted)
        if (refusal := self.refusal(digest)) is not None:  # after the store, whose message is more precise
            raise BundleError(f"bundle {digest}: {refusal}.", "store")
        event = None
        if isinstance(phase, ShadowPhase):
            self._phase, event = phase.abort(Ending("replaced", "another bundle was offered", is_bad=False))
        self._failing_ticks = 0
        try:
            self._phase = ShadowPhase.begin(context, RolloutCandidate(admitted, source))
        except Exception:
            self._unreported = event
            raise
        return event

    def digests(self) -> frozenset[str]:
        """Return the digests of all bundles that act or may act next, whether the store has them or not."""
        phase = self._phase
        policies = [self._context.host.policy, self._context.fallback.reserve]
        if isinstance(phase, WatchPhase | RollbackPhase):
            policies.append(phase.previous)
        found = [policy.digest for policy in policies if policy is not None]
        return frozenset(found if phase.candidate is None else [*found, phase.candidate.digest])

    def lacks_reserve(self, next_digest: str = "") -> bool:
        """Return whether a policy has to be loaded: to fall back to, or to end a stop of the host.

        A reserve that is no longer needed is dropped, and one with the candidate's digest.

        Args:
            next_digest: Digest of the bundle that becomes the candidate where there is none.
        """
        phase = self._phase
        if isinstance(phase, Halted):
            return True
        previous = (
            phase.previous if isinstance(phase, WatchPhase | RollbackPhase) else self._context.host.policy
        )
        return self._context.fallback.lacks_reserve(
            previous, next_digest if phase.candidate is None else phase.candidate.digest
        )

    def take_reserve(self, policy: OnnxPolicy) -> None:
        """Keep a policy to fall back to; make it active where the host is halted.

        Args:
            policy: Of a bundle that completed a watch phase here. No other object may run it.

        Raises:
            BundleError: it is of another task.
        """
        policy.check_task(self._context.host.spec, "reserve")
        if isinstance(self._phase, Halted):
            self._resume(policy)
        else:
            self._context.fallback.reserve = policy

    def _end_halt(self, admitted: AdmittedBundle, source: str) -> None:
        """Let a bundle act first, then store it: the robot is stopped, whatever the disk does.

        Raises:
            BundleError: it is refused; the host stays halted.
            StorageError: the store cannot be written; the bundle acts.
        """
        store, digest = self._context.store, admitted.report.bundle_digest
        if (refusal := self.refusal(digest)) is not None:
            raise BundleError(f"bundle {digest}: {refusal}.", "store")
        self._resume(admitted.policy)
        store.set_current(store.add(admitted), source)

    def _resume(self, policy: OnnxPolicy) -> None:
        """End the halt of the host. A stop that it latched stays."""
        self._context.host.rollback(policy)
        self._phase = Idle()

    def tick(self) -> RolloutEvent | None:
        """Check the candidate and return the end of its rollout, if it ended. Call it several times a second.

        A rollout that ends here as `withdrawn` was ended by an error, which is its reason.

        Raises:
            Exception: an error; the phase goes on, and the next tick tries again.
        """
        if (event := self._unreported) is not None:
            self._unreported = None
            return event
        phase, is_storage = self._phase, False
        try:
            self._phase, event = phase.tick()
        except Exception as exc:
            if self._may_go_on(phase, exc):
                raise
            reason = f"an error in the {phase.name} phase: {describe_error(exc)}"
            is_storage = isinstance(exc, StorageError)
            self._phase, event = phase.abort(Ending("withdrawn", reason, is_bad=False))
        self._failing_ticks = 0
        if event is not None and event.outcome in ("rejected", "rolled_back"):
            self._failed[event.bundle_digest] = event.reason
        elif event is not None and event.outcome == "withdrawn" and not is_storage:
            self._aborted[event.bundle_digest] = self._aborted.get(event.bundle_digest, 0) + 1
        return event

    def withdraw(self, reason: str) -> RolloutEvent | None:
        """End the candidate's rollout; the previous policy is in service. The candidate is not marked bad."""
        self._phase, event = self._phase.withdraw(reason)
        return event

    def close(self) -> None:
        """End the comparison; the policy in service stays."""
        self._phase.close()

    def _may_go_on(self, phase: Phase, exc: Exception) -> bool:
        """Return whether a phase whose tick failed may try again."""
        now_s = self._context.clock_s()
        if not self._failing_ticks:
            self._failing_since_s = now_s
        self._failing_ticks += 1
        if isinstance(exc, StorageError):
            return now_s - self._failing_since_s < _MAX_UNWRITTEN_S
        return isinstance(phase, ShadowPhase) and self._failing_ticks < _MAX_TICKS
