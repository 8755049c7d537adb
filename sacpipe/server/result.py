"""The result of a request before it is rendered: its actions, and how they came about."""

from typing import Any, NamedTuple

from sacpipe.robot.decision import Decision, Stamps, Timings, Verdict
from sacpipe.server.protocol import InferRequest
from sacpipe.server.sequences import SequenceStep
from sacpipe.specs.records import FloatArray

_NO_TIMINGS = Timings(0, 0, 0)
"""Timings of a request without a sequence, which has no step of a runtime."""


class Result(NamedTuple):
    """Result of a request."""

    actions: FloatArray
    """Shape (batch, action_dim)."""
    stamp_ns: Stamps
    step: SequenceStep | None = None
    """Step of the sequence; None for a request without one, all of whose actions are the policy's."""

    @property
    def verdict(self) -> Verdict:
        """Verdict of the request."""
        return "ok" if self.step is None else self.step.decision.verdict

    @property
    def reasons(self) -> str:
        """Causes, separated by commas."""
        return "" if self.step is None else ",".join(self.step.decision.reasons)

    @property
    def parameters(self) -> dict[str, Any]:
        """Response parameters that only a step of a sequence has."""
        if self.step is None:
            return {}
        decision = self.step.decision
        parameters: dict[str, Any] = {"observation_age_ns": decision.timings.age_ns}
        if decision.stop_category is not None:
            parameters["stop_category"] = decision.stop_category
        if self.step.blended_with is not None:
            parameters["blended_with_sha256"] = self.step.blended_with.digest
        return parameters

    def decision(self, action: FloatArray) -> Decision:
        """Return the decision for one action of the batch."""
        if self.step is not None:
            return self.step.decision
        return Decision(action, "ok", (), _NO_TIMINGS, action, stop_category=None, has_observation=True)


def stamps_of(request: InferRequest, arrived_ns: int) -> Stamps:
    """Return the stamp of a request's observation; without one of its own, it is as old as the request.

    Args:
        request: The request.
        arrived_ns: Time of its first byte, in nanoseconds of the monotonic clock.
    """
    whole = arrived_ns if request.stamp_ns is None else request.stamp_ns
    if not request.term_stamps_ns:
        return whole
    return dict.fromkeys(request.observations, whole) | request.term_stamps_ns
