"""A service that follows a folder, with the load gate in this process."""

import json
import threading
import time
from contextlib import contextmanager

import pytest

from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout import follower as follower_module
from sacpipe.rollout import stored_policies as stored_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.follower import Follower
from sacpipe.rollout.sources import PathSource
from sacpipe.rollout.stored_policies import load_starting_policy
from sacpipe.server.service import Call, Service

ROLLOUT = FollowSettings.DEFAULT["rollout"] | {"shadow_s": 0.0, "min_shadow_steps": 3, "watch_s": 0.0}


@pytest.fixture
def load_gate_here(monkeypatch):
    """The same gate but for the timing: a process for each bundle takes a third of a second, and in this one
    the thread that asks without a pause would be timed."""
    for module in (follower_module, stored_module):
        monkeypatch.setattr(
            module,
            "run_load_gate_in_child",
            lambda files, settings: run_load_gate(files, settings, p99_us=1.0),
        )


class Counted:
    """A source that counts how often it was asked, and may be cut off."""

    def __init__(self, source):
        self.source, self.looks, self.fault, self.bars_fault = source, 0, None, None
        self.barred = {}
        """Digest to the bar's text."""
        self.looked = threading.Condition()

    def resolve(self):
        try:
            if self.fault is not None:
                raise self.fault
            return self.source.resolve()
        finally:
            with self.looked:
                self.looks += 1
                self.looked.notify_all()

    def bars(self, known):
        if self.bars_fault is not None:
            raise self.bars_fault
        return self.source.bars(known) | {
            digest: self.barred[digest] for digest in known if digest in self.barred
        }


class Robot:
    """A service that follows a folder."""

    def __init__(self, service, source, store, follower):
        self.service, self.source, self.store, self.follower = service, source, store, follower

    def ask(self, *values, **parameters):
        tensor = {
            "name": "observation",
            "shape": [1, 3],
            "datatype": "FP32",
            "data": values or [0.5, 0.25, 0],
        }
        body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
        return json.loads(self.service.answer(Call(body, None, None, time.monotonic_ns())).body)

    def until(self, is_so):
        """Ask for actions until something is so."""
        self.wait(is_so, self.ask)

    def wait(self, is_so, meanwhile=lambda: time.sleep(0)):
        """Wait until something is so, at most a minute."""
        end_s = time.monotonic() + 60
        while not is_so(status := self.follower.status()):
            assert time.monotonic() < end_s, (status.phase, self.kinds)
            meanwhile()

    def looked(self):
        """Until the source was asked twice more: the first of these may have begun before."""
        wanted = self.source.looks + 2
        with self.source.looked:
            assert self.source.looked.wait_for(lambda: self.source.looks >= wanted, timeout=60)

    @property
    def kinds(self):
        return [event.kind for event in reversed(self.follower.status().events)]


@pytest.fixture
def named(tmp_path, bundles):
    """Where the source looks."""
    name(bundles[0], tmp_path / "named")
    return tmp_path / "named"


def name(bundle, named):
    """Let the source name another bundle, in one step."""
    named.with_name("next").symlink_to(bundle)
    named.with_name("next").replace(named)


def stopping(contract):
    """Of a policy that may not move: any change stops the robot."""
    strict = {"name": "action_change", "max_change": 1e-3, "fallback": "stop"}
    return contract.replace(runtime=contract.runtime.as_tree() | {"guards": [strict]})


@pytest.fixture
def following(named, tmp_path, load_gate_here):
    @contextmanager
    def run(retry_s=0.01, source=None, **rollout):
        settings = FollowSettings.parse(
            FollowSettings.DEFAULT
            | {"poll_s": 0.01, "retry_s": retry_s, "keep": 2}
            | {"rollout": ROLLOUT | rollout}
        )
        source = Counted(source or PathSource(named, allow_hard_links=False))
        with BundleStore(tmp_path / "store") as store:
            service = Service(load_starting_policy(source, store, settings.gate))
            with Follower(source, service, store, settings) as follower:
                yield Robot(service, source, store, follower)

    return run
