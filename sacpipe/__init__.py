"""Soft Actor-Critic as a pipeline and a library: from a simulated task to a policy on a robot.

The public names are loaded when they are first used (PEP 562), so that importing this package costs nothing
and the robot's process stays light. docs/api.md says what is public and what may change.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sacpipe.version import __version__

if TYPE_CHECKING:
    from sacpipe.bundle.reader import open_bundle
    from sacpipe.replay.pool.reader import ReplayPool
    from sacpipe.robot.runtime import Runtime
    from sacpipe.simulation.load_policy import load_policy
    from sacpipe.simulation.simulate import evaluate
    from sacpipe.training.child import train_in_child as train


_MODULES = {
    "ReplayPool": "sacpipe.replay.pool.reader",
    "Runtime": "sacpipe.robot.runtime",
    "evaluate": "sacpipe.simulation.simulate",
    "load_policy": "sacpipe.simulation.load_policy",
    "open_bundle": "sacpipe.bundle.reader",
    "train": "sacpipe.training.child",
}
_NAMES_THERE = {"train": "train_in_child"}

__all__ = ["ReplayPool", "Runtime", "__version__", "evaluate", "load_policy", "open_bundle", "train"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'sacpipe' has no attribute '{name}'; public are {', '.join(__all__)}")
    value = getattr(importlib.import_module(_MODULES[name]), _NAMES_THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
