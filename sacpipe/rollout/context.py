"""What every phase of a rollout works with: candidate, host, store, settings, and how a rollout ends.

The end of a rollout never raises: an error of the store or of the shadow is added to the reason.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sacpipe.core.config import Config
from sacpipe.core.errors import SacpipeError
from sacpipe.core.fence import first_error
from sacpipe.robot.load_gate import AdmittedBundle
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence, Shadow
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.fallback import Fallback
from sacpipe.rollout.follow_settings import RolloutSettings
from sacpipe.rollout.store_state import Outcome


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


class Ending(NamedTuple):
    """How a rollout is to end."""

    outcome: Outcome
    reason: str
    is_bad: bool
    """Whether the candidate is never used again."""


class Restoration(NamedTuple):
    """Result of a try to make the previous policy active."""

    is_done: bool
    """Whether the host has what it is to have: another policy, the candidate that may stay, or a stop."""
    fault: str
    """Errors of the try; empty where there was none."""
    note: str = ""
    """Which policy acts, where it is not the previous one; empty where it is."""
    is_halted: bool = False
    """Whether no policy may act."""


@dataclass(frozen=True, eq=False, slots=True)
class RolloutContext:
    """What every phase works with."""

    host: PolicyHost
    store: BundleStore
    settings: RolloutSettings
    clock_s: Callable[[], float]
    fallback: Fallback

    def restore(self, candidate: RolloutCandidate, previous: OnnxPolicy, *, is_bad: bool) -> Restoration:
        """Make the policy active that acts after a candidate; halt the host where none may. Never raises.

        It may be called again: a rollback that took place is not taken back.
        """
        host, failing, target = self.host, candidate.admitted.policy, previous
        faults: list[str] = []
        for act in ("rollback", "swap", ""):
            try:
                if host.policy is not failing:
                    return Restoration(True, "; ".join(faults), self._note(failing, previous, target))
                found = self.fallback.choose(failing, previous, is_bad=is_bad)
                if found is None:
                    host.halt()
                if found is None or found is failing:
                    note = self._note(failing, previous, found)
                    return Restoration(True, "; ".join(faults), note, is_halted=found is None)
                target = found
                if act:
                    getattr(host, act)(target)
            except Exception as exc:  # noqa: BLE001 - the other way is tried, then the next tick
                faults.append(describe_error(exc))
        return Restoration(False, "; ".join(faults) or "the candidate is still active")

    def _note(self, candidate: OnnxPolicy, previous: OnnxPolicy, found: OnnxPolicy | None) -> str:
        """Return why another policy than the previous one acts; empty where that one does."""
        if found is previous:
            return ""
        outcome = "no policy may act, so the robot is stopped"
        if found is not None:
            outcome = "it stays in service" if found is candidate else f"bundle {found.digest[:12]} acts now"
        bar = self.store.barred.get(previous.digest, "")
        return f"{outcome}, because bundle {previous.digest[:12]} before it is barred: {bar}"

    def end(
        self,
        candidate: RolloutCandidate,
        ending: Ending,
        shadow: Shadow | None,
        divergence: Divergence | None,
    ) -> RolloutEvent:
        """End the rollout of a candidate that is not active, and keep the evidence. Never raises.

        Args:
            candidate: The bundle.
            ending: How it ends.
            shadow: Comparison to close; None where it is closed.
            divergence: Comparison of the shadow phase; None where `shadow` is that comparison.
        """
        store, digest = self.store, candidate.digest
        reason, faults = ending.reason, []
        if shadow is not None:
            faults += _attempt("the comparison was not closed", shadow.close)
            if divergence is None:
                found: list[Divergence] = []
                faults += _attempt("the comparison is not known", lambda: found.append(shadow.divergence()))
                divergence = next(iter(found), None)
        if ending.is_bad:
            text = "not written to the store, so a restart forgets it"
            faults += _attempt(text, lambda: store.mark_bad(digest, reason))
        else:  # a full disk: at worst this counts as a death of the process in the trial
            faults += _attempt("its trial was not ended in the store", lambda: store.end_trial(digest))
            if ending.outcome != "accepted":
                faults += _attempt("it is still current in the store", lambda: self._take_back(digest))
        event = RolloutEvent(
            bundle_digest=digest,
            source=candidate.source,
            outcome=ending.outcome,
            reason="; ".join([reason, *faults]),
            divergence=divergence,
        )
        evidence = event.as_tree() | {"ended_unix_s": time.time()}
        faults = _attempt("its evidence was not kept", lambda: store.keep_evidence(digest, evidence))
        return event.model_copy(update={"reason": "; ".join([event.reason, *faults])})

    def _take_back(self, digest: str) -> None:
        """Make the bundle in service current where an error left the candidate as the store's current one."""
        current = self.store.current()
        if current is not None and current.bundle_digest == digest:
            active = self.host.policy.digest
            self.store.set_current(active, self.store.source_of(active))

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


def describe_error(exc: Exception) -> str:
    """Return one line about an error: its text, and its class and place where it was not foreseen."""
    text = " ".join(str(exc).split())
    if isinstance(exc, SacpipeError):
        return text
    frames = traceback.extract_tb(exc.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(exc).__name__}: {text[:300]}{place}"


def _attempt(what: str, work: Callable[[], object]) -> list[str]:
    """Do what may fail; return what failed, and no line where nothing did."""
    error = first_error(work)
    return [] if error is None else [f"{what}: {describe_error(error)}"]
