"""Episodes of remote robots: each sequence has a runtime of its own, and they share the policy.

One thread steps them all, and a runtime copies what the policy computed before the next one runs.
"""

from collections import OrderedDict
from typing import NamedTuple

from sacpipe.core.records import FloatArray
from sacpipe.serving.policy import OnnxPolicy
from sacpipe.serving.protocol import Sequence
from sacpipe.serving.refusals import RefusalError
from sacpipe.serving.runtime import Decision, Runtime


class Stepped(NamedTuple):
    """What became of a step."""

    decision: Decision
    blended_with: OnnxPolicy | None
    """The policy before the last swap, where the action is a mean of both."""


class _Episode:
    """A runtime, and how long a swap still shows in its actions."""

    def __init__(self, policy: OnnxPolicy) -> None:
        self._runtime = Runtime(policy)
        self._leaving, self._blend_steps = policy, 0

    def begin(self) -> None:
        self._runtime.begin_episode()

    def step(self, policy: OnnxPolicy, observation: FloatArray, stamp_ns: int) -> Stepped:
        runtime = self._runtime
        if policy is not runtime.policy:
            self._leaving = runtime.policy
            runtime.swap(policy)
            self._blend_steps = policy.contract.guards.blend_steps
        decision = runtime.step(observation, stamp_ns)
        if not (self._blend_steps and decision.timings.policy_ns):
            return Stepped(decision, None)
        self._blend_steps -= 1
        return Stepped(decision, self._leaving)


class Sequences:
    """The open sequences, at most so many: where there is no room, the one idle longest is dropped."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: OrderedDict[int | str, _Episode] = OrderedDict()
        self.dropped = 0
        """To make room."""

    def __len__(self) -> int:
        return len(self._open)

    def step(self, sequence: Sequence, policy: OnnxPolicy, observation: FloatArray, stamp_ns: int) -> Stepped:
        """Decide one step of a sequence, and begin or end it where it says so.

        Args:
            sequence: A start of a sequence that is open begins a new episode; a latched stop stays.
            policy: In service; takes over as its contract says, where it is another than before.
            observation: Shape (observation_dim,). May hold NaN: that is for the guards.
            stamp_ns: By the monotonic clock.

        Raises:
            RefusalError: the sequence is not open and this is not its start.
        """
        episode = self._find(sequence, policy)
        stepped = episode.step(policy, observation, stamp_ns)
        if sequence.is_end:
            del self._open[sequence.key]
        return stepped

    def _find(self, sequence: Sequence, policy: OnnxPolicy) -> _Episode:
        episode = self._open.get(sequence.key)
        if episode is not None:
            self._open.move_to_end(sequence.key)
            if sequence.is_start:
                episode.begin()
            return episode
        if not sequence.is_start:
            raise RefusalError(
                f"parameters.sequence_id: expected an open sequence or `sequence_start`, found "
                f"{sequence.key!r}: never begun, ended, or dropped as the idlest of {self._most}"
            )
        if len(self._open) >= self._most:
            self._open.popitem(last=False)
            self.dropped += 1
        self._open[sequence.key] = episode = _Episode(policy)
        return episode
