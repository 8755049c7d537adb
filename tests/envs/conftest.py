"""A fixture that registers a Gymnasium task for one test."""

import gymnasium
import pytest

from sacpipe.envs.gymnasium import GymnasiumTask


@pytest.fixture
def task():
    """Register a class or a function, and return its section: (constructor, **options)."""
    names = []

    def register(constructor, registered=None, **options):
        names.append(f"SacpipeUser{len(names)}-v0")
        gymnasium.register(names[-1], entry_point=constructor, max_episode_steps=20, kwargs=registered or {})
        return GymnasiumTask.parse({"suite": "gymnasium", "id": names[-1], "options": options})

    yield register
    for name in names:
        del gymnasium.registry[name]
