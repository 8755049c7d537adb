"""A fixture that registers a Gymnasium task for one test."""

import gymnasium
import pytest

from sacpipe.envs.gymnasium import GymnasiumTask


@pytest.fixture
def task():
    """Register a class or a function, and return its section: (constructor, **options); `metrics` are of the section."""
    names = []

    def register(constructor, registered=None, metrics=(), **options):
        names.append(f"SacpipeUser{len(names)}-v0")
        gymnasium.register(names[-1], entry_point=constructor, max_episode_steps=20, kwargs=registered or {})
        return GymnasiumTask(suite="gymnasium", id=names[-1], options=options, metrics=metrics)

    yield register
    for name in names:
        del gymnasium.registry[name]
