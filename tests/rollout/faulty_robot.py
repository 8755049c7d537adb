"""A robot whose host, store or shadow raises at a chosen call, for tests of the rollout."""

import itertools
import time

import numpy as np
from bundle_factories import make_runtime

from sacpipe.robot.load_gate import LoadGateSettings
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.robot.shadow import Shadow
from sacpipe.rollout import phases as phases_module
from sacpipe.rollout.follow_settings import RolloutSettings
from sacpipe.rollout.rollout import Rollout

GATE = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)
SETTINGS = RolloutSettings(
    shadow_s=10.0, min_shadow_steps=5, max_divergence=1.0, watch_s=60.0, max_deadline_misses=2
)


class Faults:
    """Counts the calls of the doubles, and raises at the chosen ones, before or after they had their effect."""

    def __init__(self, error=None, at=None, *, is_after=False, is_lasting=False):
        self.error, self.at, self.is_after, self.is_lasting = error, at, is_after, is_lasting
        self.calls = []

    def call(self, name, work):
        number = len(self.calls)
        self.calls.append(name)
        is_due = self.at is not None and (number >= self.at if self.is_lasting else number == self.at)
        if is_due and not self.is_after:
            raise self.error
        result = work()
        if is_due:
            raise self.error
        return result

    def heal(self):
        self.at = None


class Double:
    """Passes every method and property of another object on, past the faults."""

    def __init__(self, real, faults, names):
        self.__dict__.update(_real=real, _faults=faults, _names=names)

    def __getattr__(self, name):
        if name not in self._names:
            return getattr(self._real, name)
        found = self._faults.call(f"get {name}", lambda: getattr(self._real, name))
        if not callable(found):
            return found
        return lambda *arguments: self._faults.call(name, lambda: found(*arguments))


HOST = ("policy", "causes", "stops", "spec", "swap", "rollback", "halt", "listeners")
STORE = (
    *("bad", "add", "set_current", "begin_trial", "end_trial", "mark_bad", "keep_evidence", "open"),
    *("current", "prune"),
)


def shadow_of(faults):
    """A shadow whose methods may fail."""

    class FaultyShadow(Shadow):
        def __init__(self, host, candidate):
            faults.call("Shadow", lambda: super(FaultyShadow, self).__init__(host, candidate))

        def close(self):
            faults.call("Shadow.close", super().close)

        def divergence(self):
            return faults.call("Shadow.divergence", super().divergence)

    return FaultyShadow


class Robot:
    """A runtime with a rollout of doubles around it."""

    def __init__(self, folder, store, faults, monkeypatch, which):
        self.now_s, self.faults, self.store = 1000.0, faults, store
        patient = {"name": "deadline_missed", "fallback": "last", "deadline_periods": 1e6}
        settings_here = make_runtime(max_last_steps=5, guards=[patient])
        self.runtime = Runtime(
            OnnxPolicy(folder), settings=settings_here, clock_ns=lambda: int(self.now_s * 1e9)
        )
        host = Double(self.runtime, faults, HOST) if "host" in which else self.runtime
        double = Double(store, faults, STORE) if "store" in which else store
        if "shadow" in which:
            monkeypatch.setattr(phases_module, "Shadow", shadow_of(faults))
        self.rollout = Rollout(host, double, SETTINGS, clock_s=lambda: self.now_s)
        self.errors, self.events = [], []

    def step(self, count=5):
        """Step, and wait until the comparison, which has a thread of its own, got every step."""
        shadow = getattr(self.rollout._phase, "shadow", None)
        is_compared = shadow is not None and shadow._on_step in iter(self.runtime.listeners)
        wanted = shadow._steps if is_compared else 0
        for _ in range(count):
            self.now_s += 0.02
            observation = np.array([0.5, 0.25, 0.0], np.float32)
            wanted += self.runtime.step(observation, int(self.now_s * 1e9)).verdict == "ok"
        end_s = time.monotonic() + 5.0
        while is_compared and shadow.failure is None and shadow._steps < wanted and time.monotonic() < end_s:
            pass

    def tick(self):
        self.step()
        self.now_s += 60.0
        try:
            event = self.rollout.tick()
        except Exception as exc:  # noqa: BLE001 - as a follower does
            self.errors.append(exc)
        else:
            self.events += [] if event is None else [event]

    def roll_out(self, other, ticks=12):
        try:
            self.rollout.offer(other, "there")
        except Exception as exc:  # noqa: BLE001 - as a follower does
            self.errors.append(exc)
        for _ in itertools.repeat(None, ticks):
            self.tick()
            if self.rollout.phase == "idle":
                break
