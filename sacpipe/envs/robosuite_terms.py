"""Names and units of robosuite's observations and actions."""

import math
import operator
import re
from typing import Any

import numpy as np

from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.observation_reader import array_term
from sacpipe.envs.robosuite_compat import mujoco_model
from sacpipe.specs.terms import ActionTerm, Term

_UNITS = (
    (r".*_joint_pos", "rad"),
    (r".*_joint_vel", "rad/s"),
    (r".*_joint_acc", "rad/s^2"),
    (r"(hinge|handle)_qpos|angle", "rad"),
    (r".*_(cos|sin|quat|quat_site|contact|assembled)|.*_in_.*_bin|tool_on_frame|proportion_wiped", "1"),
    (r".*_x?pos|.*_to_.*|wipe_radius|wipe_centroid|t|d", "m"),
)
"""Units by the name of an observable; the first match counts."""
_AXES = ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z")
_CARTESIAN = ("IK_POSE", "OSC_POSE", "OSC_POSITION")
"""Controllers whose actions are steps of position, and of rotation in a pose."""
_SLIDE, _HINGE = 2, 3
"""Joint types, as in MuJoCo's enum mjtJoint."""


def observation_terms(env: Any, task: str) -> tuple[Term, ...]:
    """Return a term for each observable of an environment.

    Those without entries, as of a gripper without joints, and the joined ones (`object-state`) are left out.

    Args:
        env: The environment.
        task: Task suite and id.
    """
    arrays = {name: np.asarray(value) for name, value in env.observation_spec().items()}
    grippers = _gripper_units(env)
    return tuple(
        array_term(name, array.shape, array.dtype, source=f"observable '{name}' of {task}").replace(
            unit=grippers.get(name) or _unit(name)
        )
        for name, array in arrays.items()
        if not name.endswith("-state") and math.prod(array.shape) > 0
    )


def _unit(name: str) -> str:
    return next((unit for pattern, unit in _UNITS if re.fullmatch(pattern, name)), "unknown")


def _gripper_units(env: Any) -> dict[str, str]:
    """Return the units of the positions and velocities of grippers' joints, which slide or turn."""
    units = {}
    model = mujoco_model(env)
    for robot in env.robots:
        for arm, gripper in robot.gripper.items():
            kinds = {int(model.joint(name).type[0]) for name in gripper.joints}
            unit = "m" if kinds == {_SLIDE} else "rad" if kinds == {_HINGE} else None
            side = f"{arm}_" if len(robot.arms) > 1 else ""
            prefix = f"{robot.robot_model.naming_prefix}{side}gripper"
            units[f"{prefix}_qpos"] = unit or "mixed"
            units[f"{prefix}_qvel"] = f"{unit}/s" if unit else "mixed"
    return units


def action_terms(env: Any, task: str) -> tuple[ActionTerm, ...]:
    """Return a term for each entry of an action: a share of what the controller does at most in a step.

    Args:
        env: The environment.
        task: Task suite and id.
    """
    names = [name for robot in env.robots for name in _action_names(robot)]
    low, high = action_bounds(task, *env.action_spec)
    return tuple(
        ActionTerm(name=name, unit="1", low=float(low[index]), high=float(high[index]))
        for index, name in enumerate(names)
    )


def _action_names(robot: Any) -> list[str]:
    """Name a robot's actions after its parts, in the order of its composite controller."""
    places = operator.attrgetter("composite_controller._action_split_indexes")(robot)
    names = []
    for part, (start, end) in places.items():
        size, prefix = end - start, f"{robot.robot_model.naming_prefix}{part}"
        if size == 1:
            names.append(prefix)
        elif robot.part_controllers[part].name in _CARTESIAN:
            names += [f"{prefix}_{axis}" for axis in _AXES[:size]]
        else:
            names += [f"{prefix}_{index}" for index in range(size)]
    return names
