"""Repairs robosuite 1.5.2 on MuJoCo 3.12 and newer, in two of its modules; MuJoCo itself stays as it is.

1. `robosuite.utils.binding_utils` compares a model's joint type, a NumPy integer, with MuJoCo's enums. Since
   MuJoCo 3.12 an enum differs from every NumPy integer: an AssertionError without a message. The repair is
   that of Gymnasium-Robotics (mujoco_compat.py).
2. `robosuite.controllers.parts.controller` calls `mj_fullM(model, matrix, data.qM)`. Since MuJoCo 3.11 the
   function is `mj_fullM(model, data, matrix)`, and `MjData` has no `qM`. The module gets a view of MuJoCo
   with the old order, and robosuite's own class `MjData` a `qM` that is MuJoCo's data.

tests/robosuite_environment/test_repairs.py fails where a repair is no longer needed.
"""

from types import ModuleType, SimpleNamespace
from typing import Any

from sacpipe.envs.mujoco_compat import repair_enums


def repair_robosuite() -> None:
    """Repair the imported robosuite; nothing changes the second time."""
    from robosuite.controllers.parts import controller
    from robosuite.utils import binding_utils

    repair_enums(binding_utils)
    repair_inertia(controller, binding_utils.MjData)


def repair_inertia(module: ModuleType, data: Any) -> None:
    """Give a module's `mj_fullM` and robosuite's `MjData.qM` the meaning that they had before MuJoCo 3.11.

    Does nothing where MuJoCo's data have `qM`, and nothing the second time.

    Args:
        module: A module with a global `mujoco`.
        data: The class around MuJoCo's data, which it has in `_data`.
    """
    mujoco = getattr(module, "mujoco", None)
    if isinstance(mujoco, ModuleType) and not hasattr(mujoco.MjData, "qM"):
        vars(module)["mujoco"] = _OldInertia(mujoco)
        data.qM = property(mujoco_data)


def mujoco_data(data: Any) -> Any:
    """Return MuJoCo's MjData inside robosuite's."""
    return vars(data)["_data"]


def mujoco_model(env: Any) -> Any:
    """Return MuJoCo's MjModel of an environment."""
    return vars(env.sim.model)["_model"]


class _OldInertia(SimpleNamespace):
    """MuJoCo, with the arguments of `mj_fullM` in the old order."""

    def __init__(self, mujoco: ModuleType) -> None:
        def in_old_order(model: Any, matrix: Any, data: Any) -> None:
            mujoco.mj_fullM(model, data, matrix)

        super().__init__(_mujoco=mujoco, mj_fullM=in_old_order)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_mujoco"], name)
