"""Repairs Gymnasium-Robotics on MuJoCo 3.12 and newer, whose enums no longer equal NumPy's integers.

Its module `gymnasium_robotics.utils.mujoco_utils` looks for a model's joint type, a NumPy integer, in a tuple
of MuJoCo's enums. Since MuJoCo 3.12 an enum differs from every NumPy integer, so Fetch, Hand and Kitchen end
with an AssertionError without a message. The module gets a view of MuJoCo whose enums are plain integers;
MuJoCo itself and all other modules stay as they are.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

_ROBOTICS_MODULE = "gymnasium_robotics.utils.mujoco_utils"


def repair_robotics() -> None:
    """Repair Gymnasium-Robotics if it is imported in this process and needs it."""
    module = sys.modules.get(_ROBOTICS_MODULE)
    if module is not None:
        repair_enums(module)


def repair_enums(module: ModuleType) -> None:
    """Replace a module's global `mujoco` by a view with integer enums.

    Does nothing where the enums equal NumPy's integers, and nothing the second time.
    """
    mujoco = getattr(module, "mujoco", None)
    if isinstance(mujoco, ModuleType) and not _equal_integers(mujoco.mjtJoint):
        vars(module)["mujoco"] = _IntegerEnums(mujoco)


def _equal_integers(enum: Any) -> bool:
    numbers = [(member, np.int32(int(member))) for member in enum.__members__.values()]
    return all(bool(member == number) and bool(number == member) for member, number in numbers)


class _IntegerEnums(SimpleNamespace):
    """MuJoCo, with each enum `mjt...` as a namespace of plain integers."""

    def __init__(self, mujoco: ModuleType) -> None:
        super().__init__(_mujoco=mujoco)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__dict__["_mujoco"], name)
        if name.startswith("mjt"):
            value = SimpleNamespace(**{key: int(member) for key, member in value.__members__.items()})
        setattr(self, name, value)
        return value
