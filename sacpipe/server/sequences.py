"""Sequences: episodes of remote robots. Each sequence has a runtime of its own, and all share the policy.

One thread steps all of them, and a runtime copies the policy's action before the next runtime runs.
"""

import time
from collections import Counter, OrderedDict
from typing import NamedTuple

from sacpipe.robot.decision import Decision, Stamps
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.server.http_errors import RefusalError, UnavailableError
from sacpipe.server.protocol import Sequence
from sacpipe.specs.observation import Observation

IDLE_S = 30.0
"""Seconds without a step after which a sequence may lose its place."""


class SequenceStep(NamedTuple):
    """Result of a step of a sequence."""

    decision: Decision
    blended_with: OnnxPolicy | None
    """The policy before the last swap where the action is a mean of both, else None."""


class Sequences:
    """The open sequences. A new one may take the place of one that was idle for `IDLE_S`.

    Otherwise the new one is refused: to drop a sequence in use costs its episode, and the dropped one would
    in turn take the place of another.

    Args:
        max_open: Maximum number of open sequences.
        causes: Counts the refusals by the guards of all sequences.
    """

    def __init__(self, max_open: int, causes: Counter[str]) -> None:
        self._max_open, self._causes = max_open, causes
        self._open: OrderedDict[int | str, Runtime] = OrderedDict()
        self._last_step_s: dict[int | str, float] = {}
        self.dropped = 0
        """Number of idle sequences that were dropped for new ones."""
        self.last_error: Exception | None = None
        """The last exception in a step that no guard foresaw; the caller reports it and sets None."""
        self.stops = 0
        """Number of stops latched, over all sequences."""
        self.is_halted = False
        """Whether no policy may act: each step is a stop."""

    def __len__(self) -> int:
        return len(self._open)

    def step(
        self,
        sequence: Sequence,
        policy: OnnxPolicy,
        blend_steps: int | None,
        previous: OnnxPolicy | None,
        observation: Observation,
        stamp_ns: Stamps,
    ) -> SequenceStep:
        """Decide one step of a sequence, and open or close the sequence where the request says so.

        Args:
            sequence: The sequence of the request. A start of an open sequence begins a new episode; a latched
                stop stays.
            policy: The active policy; it replaces the sequence's policy where they differ.
            blend_steps: Number of steps over which it does; None for the contract's.
            previous: The policy that was active before. The sequence blends from this policy alone: any other
                may have been rolled back while the sequence was idle, and a policy that failed must not run.
            observation: One observation; may have NaN, which the guards refuse.
            stamp_ns: Time at which it, or each of its terms, was taken, in nanoseconds of the monotonic
                clock.

        Raises:
            RefusalError: the sequence is not open and this is not its start.
        """
        runtime = self._find(sequence, policy)
        if policy is not runtime.policy:
            runtime.swap(policy, blend_steps if runtime.policy is previous else 0)
        if self.is_halted:
            runtime.halt()
        stops_before = runtime.stops
        decision = runtime.step(observation, stamp_ns)
        if runtime.last_error is not None:
            self.last_error, runtime.last_error = runtime.last_error, None
        self.stops += runtime.stops - stops_before
        self._last_step_s[sequence.key] = time.monotonic()
        if sequence.is_end:
            del self._open[sequence.key], self._last_step_s[sequence.key]
        return SequenceStep(decision, runtime.blended_with)

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
                f"{sequence.key!r}: not started, ended, or dropped after {IDLE_S:g} s without a step"
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
