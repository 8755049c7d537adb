"""Two jobs at a time: threads that share the work of one update, each computing alone.

OpenMP splits every product between its threads and lets them spin at a barrier behind each. On a
machine that is not idle, one that lost its core keeps the other spinning, and two threads become many
times slower than one. Here a thread is given a whole network instead: it meets the others a few times
an update and sleeps while it waits, and since nobody splits a sum, the number of threads does not
change a bit of the result.
"""

import threading
from collections.abc import Callable

Job = Callable[[], None]


class Lanes:
    """Runs jobs on the caller's thread and `num_threads - 1` others; products let go of Python's lock."""

    def __init__(self, num_threads: int) -> None:
        self._others = [_Lane() for _ in range(num_threads - 1)]

    def run(self, *jobs: Job) -> None:
        """Run all jobs, in order within a lane, and return when all are done.

        Raises:
            Exception: what a job raised, of the first lane that has one; the other lanes have ended.
        """
        lanes = 1 + len(self._others)
        started = list(zip(self._others, range(1, min(lanes, len(jobs))), strict=False))
        for lane, first in started:
            lane.start(jobs[first::lanes])
        try:
            for job in jobs[::lanes]:
                job()
        finally:
            errors = [lane.wait() for lane, _ in started]
        for error in errors:
            if error is not None:
                raise error


class _Lane:
    """A thread that sleeps until it is given jobs."""

    def __init__(self) -> None:
        self._given, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._jobs: tuple[Job, ...] = ()
        self._error: BaseException | None = None
        threading.Thread(target=self._work, name="sacpipe-lane", daemon=True).start()

    def start(self, jobs: tuple[Job, ...]) -> None:
        """Give jobs to a lane that has none."""
        self._jobs = jobs
        self._given.release()

    def wait(self) -> BaseException | None:
        """Wait for its jobs and return what one raised."""
        self._done.acquire()
        error, self._error = self._error, None
        return error

    def _work(self) -> None:
        while True:
            self._given.acquire()
            try:
                for job in self._jobs:
                    job()
            except BaseException as exc:  # noqa: BLE001 - handed to whoever waits
                self._error = exc
            self._jobs = ()
            self._done.release()
