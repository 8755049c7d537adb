"""A package with a guard, installed for one test: its module, and the metadata that registers it."""

from pathlib import Path

import pytest

GUARD = '''
"""A guard of another package."""

from typing import Literal

from pydantic import Field

from sacpipe.robot.guards.guard import Guard, ArmedGuard


class Tilt(Guard):
    name: Literal["tilt"]
    max_tilt: float = Field(gt=0, le=100)

    @classmethod
    def example(cls):
        return cls(name="tilt", fallback="stop", max_tilt=2.0)

    @classmethod
    def weakest(cls):
        return cls(name="tilt", fallback="stop", max_tilt=50.0)

    @classmethod
    def example_refused(cls, step, contract):
        step.observation.vector[0] = 3.0

    def arm(self, contract, period_s):
        return ArmedTilt(self.max_tilt)


class ArmedTilt(ArmedGuard):
    def __init__(self, max_tilt):
        self.max_tilt = max_tilt

    def refuses_observation(self, step):
        return bool(step.observation.vector[0] > self.max_tilt)
'''


def install_guard(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str = GUARD) -> None:
    """Put a package `tilt_guard` with the guard `tilt` on the path, as an installation from its wheel does."""
    metadata = folder / "tilt_guard-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "tilt_guard.py").write_text(code)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tilt-guard\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sacpipe.guards]\ntilt = tilt_guard:Tilt\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(__import__("sys").modules, "tilt_guard", raising=False)
