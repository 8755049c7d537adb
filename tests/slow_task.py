"""A task of Gymnasium whose simulator takes its time, hangs, raises an error or dies: `slow_task:Slow-v0`."""

import os
import signal
import time

import gymnasium
from line_task import Line


class Slow(Line):
    """The point on a line. A step takes `step_s` seconds, and `then` happens at step `at` of an episode.

    It happens in every process but `spared_pid`, e.g. the test's own, where a run evaluates. Where `marker`
    names a file, it happens once: only if the file is missing, and then the file is made. Making an
    environment takes a first step, number 0, so `at` is 1 or more.
    """

    def __init__(self, render_mode=None, step_s=0.0, then="nothing", at=1, marker="", spared_pid=0):
        super().__init__(render_mode)
        self._step_s, self._then, self._at = step_s, then, at
        self._marker, self._is_spared = marker, os.getpid() == spared_pid

    def step(self, action):
        if self._step_s:
            time.sleep(self._step_s)
        if self._then != "nothing" and self.steps == self._at and not self._is_spared and self._is_first():
            if self._then == "hang":
                signal.pause()
            if self._then == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._then == "leave":
                os._exit(7)
            raise ConnectionError("the simulator's host does not answer")
        return super().step(action)

    def _is_first(self):
        if self._marker:
            try:
                os.close(os.open(self._marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return False
        return True


gymnasium.register("Slow-v0", entry_point="slow_task:Slow", max_episode_steps=20)
