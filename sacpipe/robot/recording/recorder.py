"""Keeps what a robot saw as recordings (docs/recording.md), off the control thread.

The control thread only hands over what it saw. Another one writes it, and syncs it every `flush_s`, which
is what a kill or a power cut can cost. Where that one cannot keep up, steps are dropped and counted;
where the disk fails, recording ends and says so. No step ever waits.
"""

import queue
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.robot.decision import Decision
from sacpipe.robot.recording.episodes import NO_OBSERVATION, End, Episodes, Heard, Outcome
from sacpipe.robot.recording.folder import RecorderSettings, RecordingsFolder
from sacpipe.robot.recording.writer import RecordingWriter
from sacpipe.robot.runtime import Runtime
from sacpipe.specs.records import FloatArray

_WAITING = 8192
"""Steps and outcomes that wait at most: eight seconds at 500 Hz, for a disk that is slow to sync."""


class RecorderStatus(Config):
    """What a recorder did so far."""

    transitions: int = Field(ge=0)
    recordings: int = Field(ge=0)
    """Begun."""
    dropped: int = Field(ge=0)
    """Steps that the writing thread could not keep up with."""
    gaps: int = Field(ge=0)
    """Times an episode could not be followed from one step to the next."""
    failure: str | None
    """Why recording ended; null where it goes on."""


class Recorder:
    """Records a runtime from now until it is closed.

    `outcome` and `end_episode` are called by the control thread, behind the step they belong to. An
    episode ends without them too, where the runtime begins another: its last step is then a gap.

    Args:
        runtime: In service.
        folder: For the recordings; of one recorder at a time.
        settings: How much is kept.

    Raises:
        BusyError: another recorder has the folder.
        ConfigError: one recording could already be larger than all may be together.
        StorageError: the folder cannot be written.
    """

    def __init__(self, runtime: Runtime, folder: Path, settings: RecorderSettings) -> None:
        self._runtime, self._settings = runtime, settings
        self._folder = RecordingsFolder(folder, runtime.spec, settings)
        self._episodes = Episodes(runtime.spec)
        self._waiting: queue.SimpleQueue[Heard | Outcome | End | None] = queue.SimpleQueue()
        self._number = self._transitions = self._recordings = self._dropped = 0
        self._failure: str | None = None
        self._is_heard = False
        """Whether the last step was handed over; what belongs to it goes its way."""
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        runtime.listeners.add(self._hear)

    def __enter__(self) -> Self:
        """Record until the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def status(self) -> RecorderStatus:
        """What was done so far; from any thread."""
        return RecorderStatus(
            transitions=self._transitions,
            recordings=self._recordings,
            dropped=self._dropped,
            gaps=self._episodes.gaps,
            failure=self._failure,
        )

    def outcome(self, reward: float | None = None, executed_action: FloatArray | None = None) -> None:
        """Say what became of the last step. What no pool may hold leaves a gap.

        Args:
            reward: Where the robot has one.
            executed_action: The action executed instead of the decision's, in task units.
                Shape (action_dim,).
        """
        if self._is_heard:
            executed_action = None if executed_action is None else _copied(executed_action)
            self._waiting.put(Outcome(self._number, reward, executed_action))

    def end_episode(
        self, observation: FloatArray, stamp_ns: int, *, terminated: bool, truncated: bool
    ) -> None:
        """Say what the last step of an episode led to. What no pool may hold leaves a gap.

        Args:
            observation: Behind that step, as one vector; the runtime never sees it. Shape (observation_dim,).
            stamp_ns: By the runtime's clock.
            terminated: The task itself ended; there is no future.
            truncated: The episode was cut; the future exists.
        """
        if self._is_heard:
            self._waiting.put(End(self._number, _copied(observation), stamp_ns, terminated, truncated))

    def close(self) -> None:
        """Write what waits, and close the recording."""
        self._runtime.listeners.remove(self._hear)
        self._waiting.put(None)
        self._thread.join()
        self._folder.close()

    def _hear(self, observation: FloatArray, stamp_ns: int, decision: Decision) -> None:
        """Take over one step; called by the control thread."""
        self._number += 1
        self._is_heard = self._failure is None and self._waiting.qsize() < _WAITING
        if not self._is_heard:
            self._dropped += 1
            return
        is_seen = decision.verdict != "stopped" and NO_OBSERVATION.isdisjoint(decision.reasons)
        seen = observation.copy() if is_seen else None
        runtime = self._runtime
        self._waiting.put(
            Heard(self._number, runtime.episode, seen, stamp_ns, decision, runtime.acting_policy)
        )

    def _run(self) -> None:
        try:
            self._write(self._folder.begin())
        except Exception as exc:  # noqa: BLE001 - whatever ends it is told, and ends nothing else
            self._failure = str(exc) or type(exc).__name__
            while self._waiting.get() is not None:  # nothing piles up until the end
                pass

    def _write(self, writer: RecordingWriter) -> None:
        """Write what is handed over, until the end."""
        self._recordings += 1
        due_s = time.monotonic() + self._settings.flush_s
        while True:
            if (left_s := due_s - time.monotonic()) <= 0:
                writer.flush(self._dropped)
                due_s = time.monotonic() + self._settings.flush_s
                continue
            try:
                item = self._waiting.get(timeout=left_s)
            except queue.Empty:
                continue
            if item is None:
                break
            for transition, step in self._episodes.take(item):
                if writer.transitions == self._settings.recording_transitions:
                    self._folder.end(writer, self._dropped)
                    writer = self._folder.begin()
                    self._recordings += 1
                writer.append(transition, step)
                self._transitions += 1
        self._folder.end(writer, self._dropped)


def _copied(values: FloatArray) -> FloatArray:
    """Copy what a robot gave; no numbers at all where it is no array of them, which then leaves a gap."""
    try:
        return np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        return np.empty(0, dtype=np.float32)
