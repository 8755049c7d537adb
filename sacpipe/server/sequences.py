"""Episodes of remote robots: each sequence has a runtime of its own, and they share the policy.

One thread steps them all, and a runtime copies what the policy computed before the next one runs.
"""

import time
from collections import OrderedDict
from typing import NamedTuple

from sacpipe.bundle.guard_settings import Cause
from sacpipe.robot.decision import Decision
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.server.http_errors import RefusalError, UnavailableError
from sacpipe.server.protocol import Sequence
from sacpipe.specs.records import FloatArray

IDLE_S = 30.0
"""Seconds without a step after which a sequence may lose its place."""


class Stepped(NamedTuple):
    """What became of a step."""

    decision: Decision
    blended_with: OnnxPolicy | None
    """The policy before the last swap, where the action is a mean of both."""


class Sequences:
    """The open sequences, a limited number. A new one takes the place of one that is idle for `IDLE_S`.

    If none is, the new one is refused: to drop a sequence in use costs its episode, and the dropped one would
    in turn take the place of another.

    Args:
        max_open: Open sequences at once.
        causes: Counts what the guards of all of them say.
    """

    def __init__(self, max_open: int, causes: dict[Cause, int]) -> None:
        self._max_open, self._causes = max_open, causes
        self._open: OrderedDict[int | str, Runtime] = OrderedDict()
        self._last_step_s: dict[int | str, float] = {}
        self.dropped = 0
        """To make room."""
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
        self.stops += runtime.stops - stops_before
        self._last_step_s[sequence.key] = time.monotonic()
        if sequence.is_end:
            del self._open[sequence.key], self._last_step_s[sequence.key]
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
                f"{sequence.key!r}: never begun, ended, or dropped after {IDLE_S:g} s without a step"
            )
        if len(self._open) >= self._max_open:
            self._drop_idle()
        self._open[sequence.key] = runtime = Runtime(policy)
        self._last_step_s[sequence.key] = time.monotonic()
        runtime.causes = self._causes
        return runtime

    def _drop_idle(self) -> None:
        key = next(iter(self._open))
        if time.monotonic() - self._last_step_s[key] < IDLE_S:
            raise UnavailableError(
                f"parameters.sequence_id: expected at most {self._max_open} open sequences; none is idle for "
                f"{IDLE_S:g} s. End one with `sequence_end`, or raise --max-sequences of the server"
            )
        del self._open[key], self._last_step_s[key]
        self.dropped += 1
