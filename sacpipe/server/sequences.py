"""Episodes of remote robots: each sequence has a runtime of its own, and they share the policy.

One thread steps them all, and a runtime copies what the policy computed before the next one runs.
"""

from collections import OrderedDict
from typing import NamedTuple

from sacpipe.bundle.guard_settings import Cause
from sacpipe.robot.decision import Decision
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.server.http_errors import RefusalError
from sacpipe.server.protocol import Sequence
from sacpipe.specs.records import FloatArray


class Stepped(NamedTuple):
    """What became of a step."""

    decision: Decision
    blended_with: OnnxPolicy | None
    """The policy before the last swap, where the action is a mean of both."""


class Sequences:
    """The open sequences, at most so many: where there is no room, the one idle longest is dropped.

    Args:
        most: How many.
        causes: Counts what the guards of all of them say.
    """

    def __init__(self, most: int, causes: dict[Cause, int]) -> None:
        self._most, self._causes = most, causes
        self._open: OrderedDict[int | str, Runtime] = OrderedDict()
        self.dropped = 0
        """To make room."""
        self.last_error: Exception | None = None
        """The last exception in a step that no guard foresaw; the caller reports it and sets None."""
        self.stops = 0
        """How often one latched a stop."""

    def __len__(self) -> int:
        return len(self._open)

    def step(
        self,
        sequence: Sequence,
        policy: OnnxPolicy,
        blend_steps: int | None,
        before: OnnxPolicy | None,
        observation: FloatArray,
        stamp_ns: int,
    ) -> Stepped:
        """Decide one step of a sequence, and begin or end it where it says so.

        Args:
            sequence: A start of a sequence that is open begins a new episode; a latched stop stays.
            policy: In service; takes over where it is another than before.
            blend_steps: Over which it does; None where its contract says.
            before: In service before it. From any other nothing is blended: it may have been taken back
                while the sequence was idle, and what failed is not run again.
            observation: Shape (observation_dim,). May hold NaN: that is for the guards.
            stamp_ns: By the monotonic clock.

        Raises:
            RefusalError: the sequence is not open and this is not its start.
        """
        runtime = self._find(sequence, policy)
        if policy is not runtime.policy:
            runtime.swap(policy, blend_steps if runtime.policy is before else 0)
        stops_before = runtime.stops
        decision = runtime.step(observation, stamp_ns)
        if runtime.last_error is not None:
            self.last_error, runtime.last_error = runtime.last_error, None
        self.stops += runtime.stops - stops_before
        if sequence.is_end:
            del self._open[sequence.key]
        return Stepped(decision, runtime.blended_with)

    def _find(self, sequence: Sequence, policy: OnnxPolicy) -> Runtime:
        runtime = self._open.get(sequence.key)
        if runtime is not None:
            self._open.move_to_end(sequence.key)
            if sequence.is_start:
                runtime.begin_episode()
            return runtime
        if not sequence.is_start:
            raise RefusalError(
                f"parameters.sequence_id: expected an open sequence or `sequence_start`, found "
                f"{sequence.key!r}: never begun, ended, or dropped as the idlest of {self._most}"
            )
        if len(self._open) >= self._most:
            self._open.popitem(last=False)
            self.dropped += 1
        self._open[sequence.key] = runtime = Runtime(policy)
        runtime.causes = self._causes
        return runtime
