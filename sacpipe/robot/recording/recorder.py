"""Records the steps of a runtime (docs/recording.md) without delaying the control thread.

The control thread only puts steps into a queue. A writing thread writes them, and syncs every `flush_s`: a
kill or a power cut costs at most so much. Where the writing thread cannot keep up, steps are dropped and
counted. Where the disk fails, or less space is free than the floor, recording pauses and `status` has the
failure; once the disk has room, recording resumes. A step never waits.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import StorageError
from sacpipe.core.fence import first_error
from sacpipe.robot.decision import Decision, GivenObservation, Stamps
from sacpipe.robot.observation import ReceivedObservation
from sacpipe.robot.recording.episodes import EpisodeAssembler, EpisodeEnd, RuntimeStep, StepOutcome
from sacpipe.robot.recording.folder import RecorderSettings, RecordingsFolder
from sacpipe.robot.recording.format import RecordedStep
from sacpipe.robot.recording.writer import RecordingWriter
from sacpipe.robot.runtime import Runtime
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_RETRY_S = 1.0
"""Time between two tries to resume, in seconds."""
_MAX_WAITING = 8192
"""Maximum length of the queue: eight seconds at 500 Hz with an outcome for each step, for a disk that syncs
slowly."""


class RecorderStatus(Config):
    """Status of a recorder."""

    transitions: int = Field(ge=0)
    """Number of transitions written."""
    recordings: int = Field(ge=0)
    """Number of recordings started."""
    dropped: int = Field(ge=0)
    """Number of steps dropped because the writing thread could not keep up, or recording was paused."""
    gaps: int = Field(ge=0)
    """Number of steps that made no transition, for example the step before a refused observation."""
    failure: str | None
    """Reason for which nothing is recorded now, such as a full disk; null while recording goes on."""
    pauses: int = Field(ge=0)
    """Number of times that recording paused."""


class Recorder:
    """Records a runtime until it is closed.

    The control thread calls `outcome` and `end_episode` after the step that they belong to. Where the runtime
    begins an episode without an `end_episode` before, the last step of the episode before is a gap.

    Args:
        runtime: Makes the steps.
        folder: Folder of the recordings, for one recorder at a time.
        settings: Limits of what is kept.

    Raises:
        BusyError: another recorder has the folder.
        ConfigError: a single recording may be larger than `max_bytes`.
        StorageError: the folder cannot be written.
    """

    def __init__(self, runtime: Runtime, folder: Path, settings: RecorderSettings) -> None:
        self._runtime, self._settings = runtime, settings
        self._folder = RecordingsFolder(folder, runtime.spec, settings)
        self._episodes = EpisodeAssembler(runtime.spec)
        self._last = runtime.spec.layout.empty()
        self._received = ReceivedObservation(runtime.spec, self._last)
        """Copies the last observation of an episode."""
        self._has_term_stamps = False
        """Whether recordings have the stamp of each term: from the first step with such stamps on."""
        self._waiting: queue.SimpleQueue[RuntimeStep | StepOutcome | EpisodeEnd | None] = queue.SimpleQueue()
        self._number = self._transitions = self._recordings = self._dropped = 0
        self._discarded = self._pauses = 0
        """Number of queued steps that were not written because recording paused; number of pauses."""
        self._failure: str | None = None
        self._writer: RecordingWriter | None = None
        self._is_closing = False
        self._is_queued = False
        """Whether the last step was queued; where it was dropped, its outcome and end are dropped too."""
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        runtime.listeners.add(self._on_step)

    def __enter__(self) -> Self:
        """Record until the block ends."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the recorder."""
        self.close()

    @property
    def status(self) -> RecorderStatus:
        """Status so far. From any thread."""
        return RecorderStatus(
            transitions=self._transitions,
            recordings=self._recordings,
            dropped=self._dropped + self._discarded,
            gaps=self._episodes.gaps,
            failure=self._failure,
            pauses=self._pauses,
        )

    def outcome(self, reward: float | None = None, executed_action: FloatArray | None = None) -> None:
        """Record what followed from the last step. A value that a pool may not hold leaves a gap.

        Args:
            reward: Reward; None where the robot has none.
            executed_action: Action that was executed instead of the decision's, in task units.
                Shape (action_dim,).
        """
        if self._is_queued:
            executed_action = None if executed_action is None else _copied(executed_action)
            self._waiting.put(StepOutcome(self._number, reward, executed_action))

    def end_episode(
        self, observation: GivenObservation, stamp_ns: Stamps, *, terminated: bool, truncated: bool
    ) -> None:
        """Record the end of an episode. A value that a pool may not hold leaves a gap.

        Args:
            observation: Observation after the last step, as for `Runtime.step`. The runtime does not get it.
            stamp_ns: Time at which it was taken, as for `Runtime.step`.
            terminated: Whether the task itself ended, so that there is no future reward.
            truncated: Whether the episode was cut, so that future rewards exist.
        """
        if self._is_queued:
            last = self._last.copy() if self._received.copy_from(observation) else None
            self._waiting.put(EpisodeEnd(self._number, last, _newest(stamp_ns), terminated, truncated))

    def close(self) -> None:
        """Write what waits in the queue, and close the recording."""
        self._runtime.listeners.remove(self._on_step)
        self._waiting.put(None)
        self._thread.join()
        self._folder.close()

    def _on_step(self, observation: Observation, stamps: Stamps, decision: Decision) -> None:
        """Queue one step; the control thread calls this."""
        self._number += 1
        self._is_queued = self._failure is None and self._waiting.qsize() < _MAX_WAITING
        if not self._is_queued:
            self._dropped += 1
            return
        runtime, kept, stamp_ns, term_stamps_ns = self._runtime, None, 0, None
        if decision.verdict != "stopped" and decision.has_observation:
            kept, stamp_ns = observation.copy(), _newest(stamps)
            term_stamps_ns = dict(stamps) if isinstance(stamps, Mapping) else None
        self._waiting.put(
            RuntimeStep(
                self._number,
                runtime.episode,
                kept,
                stamp_ns,
                term_stamps_ns,
                decision,
                runtime.acting_policy,
            )
        )

    def _run(self) -> None:
        """Record until `close`; after an error, try again every second."""
        while not self._is_closing:
            if (error := first_error(self._record)) is not None:  # it pauses the recording alone
                self._pause(error)
        with contextlib.suppress(Exception):  # the next recorder of the folder closes it
            self._close_writer()

    def _record(self) -> None:
        """Begin a recording, and write to it until `close`."""
        self._folder.check_room(is_paused=self._failure is not None)
        self._close_writer()
        self._writer = self._folder.begin(has_term_stamps=self._has_term_stamps)
        self._recordings += 1
        self._failure = None
        self._write()

    def _write(self) -> None:
        """Write what is queued, until `close`.

        Raises:
            StorageError: the disk failed, or less space is free than the floor.
        """
        flush_s = self._settings.flush_s
        due_s = time.monotonic() + flush_s
        while (writer := self._writer) is not None:
            if (left_s := due_s - time.monotonic()) <= 0:
                self._folder.check_room(is_paused=False)
                writer.flush(self.status.dropped)
                due_s = time.monotonic() + flush_s
                continue
            try:
                item = self._waiting.get(timeout=left_s)
            except queue.Empty:
                continue
            if item is None:
                self._is_closing = True
                self._close_writer()
                return
            for transition, step in self._episodes.add(item):
                writer = self._writer_of(step, writer)
                writer.append(transition, step)
                self._transitions += 1

    def _writer_of(self, step: RecordedStep, writer: RecordingWriter) -> RecordingWriter:
        """Return the writer of a step: the next where the recording is full, or has no stamps of terms."""
        lacks_stamps = step.term_stamps_ns is not None and not writer.has_term_stamps
        if writer.transitions < self._settings.recording_transitions and not lacks_stamps:
            return writer
        self._has_term_stamps |= lacks_stamps
        self._recordings += writer.transitions > 0  # an empty recording is removed
        self._close_writer()
        self._writer = following = self._folder.begin(has_term_stamps=self._has_term_stamps)
        return following

    def _close_writer(self) -> None:
        """Close the recording that is open, if there is one.

        Raises:
            StorageError: the disk failed; the same call may be made again.
        """
        writer = self._writer
        if writer is None:
            return
        try:
            self._folder.end(writer, self.status.dropped)
        except StorageError:
            raise
        except Exception:  # not the disk: what was synced is closed without this writer
            self._writer = None
            self._folder.resume_or_leave(writer.folder)
            raise
        self._writer = None

    def _pause(self, error: Exception) -> None:
        """Keep the reason, close what is open where possible, and drop steps until the next try."""
        if self._failure is None:
            self._pauses += 1
        self._failure = str(error) or type(error).__name__
        with contextlib.suppress(Exception):  # the next try closes it
            self._close_writer()
        end_s = time.monotonic() + _RETRY_S
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                item = self._waiting.get(timeout=left_s)
            except queue.Empty:
                return
            if item is None:
                self._is_closing = True
                return
            self._discarded += isinstance(item, RuntimeStep)


def _newest(stamps: Stamps) -> int:
    """Return the stamp of an observation, the newest of its terms; 0, which leaves a gap, for no number."""
    try:
        return int(max(stamps.values()) if isinstance(stamps, Mapping) else stamps)
    except (OverflowError, TypeError, ValueError):
        return 0


def _copied(values: FloatArray) -> FloatArray:
    """Copy an array of the robot; return an empty one where it is no array of numbers, which leaves a gap."""
    try:
        return np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        return np.empty(0, dtype=np.float32)
