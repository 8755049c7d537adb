"""A rollout: an admitted bundle in the shadow, then in service under watch, and a rollback where it fails.

sacpipe/rollout/phases.py has the phases. A bundle becomes the store's current one only after its watch phase:
where the process is killed before, the robot starts with the bundle that was current before. A stop that a
candidate caused stays latched after the rollback: the operator beside the robot decides whether it may move.
"""

import time
from collections.abc import Callable

from sacpipe.core.errors import BundleError
from sacpipe.robot.load_gate import AdmittedBundle
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import RolloutSettings
from sacpipe.rollout.phases import (
    Idle,
    Phase,
    PhaseName,
    RolloutCandidate,
    RolloutContext,
    RolloutEvent,
    ShadowPhase,
    WatchPhase,
)


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
        self._context = RolloutContext(host, store, settings, clock_s)
        self._phase: Phase = Idle()

    @property
    def phase(self) -> PhaseName:
        """Name of the current phase. From any thread."""
        return self._phase.name

    @property
    def candidate(self) -> RolloutCandidate | None:
        """The bundle in rollout; None while idle. From any thread."""
        return self._phase.candidate

    def divergence(self) -> Divergence | None:
        """Return the comparison so far of the current phase; None while idle. From any thread."""
        return self._phase.divergence()

    def offer(self, admitted: AdmittedBundle, source: str) -> RolloutEvent | None:
        """Begin the shadow phase of a bundle. A bundle that is in its shadow phase is replaced.

        Args:
            admitted: Not the bundle in service. No other object may run its policy.
            source: Path, or alias with version, from which it was resolved.

        Returns:
            End of the rollout of the bundle that was replaced; None where there was none.

        Raises:
            BundleError: another bundle is in its watch phase; or this one is marked bad, or of another task.
                The policy in service goes on.
            StorageError: the store cannot be written.
            RuntimeError: no thread could be started.
        """
        context, phase = self._context, self._phase
        if isinstance(phase, WatchPhase):
            raise BundleError(
                f"bundle {admitted.report.bundle_digest}: the bundle in service is new and still watched; "
                f"offer this one again in {context.settings.watch_s:g} s."
            )
        admitted.policy.check_task(context.host.spec, "candidate")
        context.store.add(admitted)
        event = None
        if isinstance(phase, ShadowPhase):
            self._phase, event = phase.end("replaced", "another bundle was offered")
        self._phase = ShadowPhase.begin(context, RolloutCandidate(admitted, source))
        return event

    def tick(self) -> RolloutEvent | None:
        """Check the candidate and return the end of its rollout, if it ended. Call it several times a second.

        Raises:
            StorageError: the store cannot be written; the phase goes on, and the next tick tries again.
        """
        self._phase, event = self._phase.tick()
        return event

    def withdraw(self, reason: str) -> RolloutEvent | None:
        """End the candidate's rollout; the previous policy is in service. The candidate is not marked bad."""
        self._phase, event = self._phase.withdraw(reason)
        return event

    def close(self) -> None:
        """End the comparison; the policy in service stays."""
        self._phase.close()
