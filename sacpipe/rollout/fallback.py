"""Which policy acts after a candidate that has to go: the one before it, unless that was barred meanwhile.

The usual cause of a new bundle is that the operator rolled the one in service back, which bars it. Then the
robot goes to its reserve: the newest bundle that was current here, and is neither bad nor barred. It is
loaded before it is needed, because a rollback does not wait for a load gate. A candidate that did not fail
may stay. Where no policy may act, the host halts: the robot stops.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sacpipe.robot.policy import OnnxPolicy


class _Verdicts(Protocol):
    """What a store knows of bundles, by digest."""

    @property
    def bad(self) -> Mapping[str, str]: ...

    @property
    def barred(self) -> Mapping[str, str]: ...


@dataclass(eq=False, slots=True)
class Fallback:
    """The choice of the policy to fall back to."""

    store: _Verdicts
    reserve: OnnxPolicy | None = None
    """Loaded; no other object runs it before the host does. None where none is needed or there is none."""

    def may_act(self, policy: OnnxPolicy) -> bool:
        """Return whether a policy is neither bad nor barred now."""
        return policy.digest not in self.store.bad and policy.digest not in self.store.barred

    def lacks_reserve(self, previous: OnnxPolicy, candidate: str) -> bool:
        """Return whether a reserve has to be loaded. One that is not needed, or may not act, is dropped.

        Args:
            previous: The policy to which the robot falls back unless it is barred.
            candidate: Digest of the candidate, which is no reserve of itself; empty for none.
        """
        is_needed, reserve = previous.digest in self.store.barred, self.reserve
        is_usable = reserve is not None and reserve.digest != candidate and self.may_act(reserve)
        if not (is_needed and is_usable):
            self.reserve = None
        return is_needed and self.reserve is None

    def choose(self, candidate: OnnxPolicy, previous: OnnxPolicy, *, is_bad: bool) -> OnnxPolicy | None:
        """Return the policy that acts after a candidate; None where none may.

        Args:
            candidate: The policy that is in service.
            previous: The policy before it.
            is_bad: Whether the candidate failed.
        """
        if previous.digest not in self.store.barred:
            return previous
        reserve = self.reserve
        if reserve is not None and reserve.digest != candidate.digest and self.may_act(reserve):
            return reserve
        return candidate if not is_bad and self.may_act(candidate) else None
