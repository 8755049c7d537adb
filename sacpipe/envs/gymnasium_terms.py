"""The `EnvSpec` of a Gymnasium task: observation and action terms with names, units and bounds.

MuJoCo v5 tasks describe most of their terms; `_KNOWN_TERMS` has the terms of tasks that do not.
"""

from typing import Any

import numpy as np

from sacpipe.core.errors import ConfigError
from sacpipe.envs import mujoco_terms
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import ActionTerm, ObservationTerm

_KNOWN_TERMS: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    "InvertedDoublePendulum-v5": (
        ("cart_position", 1, "m", "MuJoCo qpos[0:1]"),
        ("pole_angle_sines", 2, "1", "sin(MuJoCo qpos[1:3])"),
        ("pole_angle_cosines", 2, "1", "cos(MuJoCo qpos[1:3])"),
        ("cart_velocity", 1, "m/s", "MuJoCo qvel[0:1], clipped to [-10, 10]"),
        ("pole_angular_velocities", 2, "rad/s", "MuJoCo qvel[1:3], clipped to [-10, 10]"),
        ("cart_constraint_force", 1, "N", "MuJoCo qfrc_constraint[0:1], clipped to [-10, 10]"),
    ),
    "Reacher-v5": (
        ("joint_angle_cosines", 2, "1", "cos(MuJoCo qpos[0:2])"),
        ("joint_angle_sines", 2, "1", "sin(MuJoCo qpos[0:2])"),
        ("target_position", 2, "m", "MuJoCo qpos[2:4]"),
        ("joint_angular_velocities", 2, "rad/s", "MuJoCo qvel[0:2]"),
        ("fingertip_to_target", 2, "m", "x and y of MuJoCo xpos, fingertip minus target"),
    ),
    "Pusher-v5": (
        ("joint_angles", 7, "rad", "MuJoCo qpos[0:7]"),
        ("joint_angular_velocities", 7, "rad/s", "MuJoCo qvel[0:7]"),
        ("fingertip_position", 3, "m", "MuJoCo xpos of body tips_arm"),
        ("object_position", 3, "m", "MuJoCo xpos of body object"),
        ("goal_position", 3, "m", "MuJoCo xpos of body goal"),
    ),
    "Pendulum-v1": (
        ("angle_cosine", 1, "1", "cosine of the angle from upright"),
        ("angle_sine", 1, "1", "sine of the angle from upright"),
        ("angular_velocity", 1, "rad/s", "angular velocity of the pole"),
    ),
    "MountainCarContinuous-v0": (
        ("position", 1, "unknown", "position of the car"),
        ("velocity", 1, "unknown", "velocity of the car, position units a step"),
    ),
}
"""Name, size, unit and source of observation terms, by task id, for tasks that do not describe them."""

_CLIPPED_VELOCITIES = ("Hopper-v5", "Walker2d-v5")

_KNOWN_ACTIONS = {"Pendulum-v1": (("torque", "N m"),), "MountainCarContinuous-v0": (("force", "1"),)}


def read_spec(task_id: str, task: str, env: Any, limit: int | None) -> EnvSpec:
    """Read the specification of an unwrapped environment.

    Args:
        task_id: Registered id of the task.
        task: Task suite and id.
        env: The environment without Gymnasium's own wrappers.
        limit: Time limit in steps, or None.

    Raises:
        ConfigError: the action space is not a bounded Box, or the observation is not a vector.
    """
    low, high = _bounds(task, env.action_space)
    model = getattr(env.unwrapped, "model", None)
    period = getattr(env.unwrapped, "dt", None)
    if model is not None and getattr(model, "nu", 0) == len(low):
        action = mujoco_terms.action_terms(model, low, high)
    else:
        names = _KNOWN_ACTIONS.get(task_id) or [(f"action_{index}", "unknown") for index in range(len(low))]
        action = tuple(
            ActionTerm(name=name, unit=unit, low=float(low[index]), high=float(high[index]))
            for index, (name, unit) in enumerate(names)
        )
    return EnvSpec(
        task=task,
        observation=_name_observation(task_id, task, env, model),
        action=action,
        control_period_s=None if period is None else float(period),
        max_episode_steps=limit,
    )


def _bounds(task: str, space: Any) -> tuple[FloatArray, FloatArray]:
    from gymnasium.spaces import Box

    expected = f"task '{task}': expected a bounded, continuous Box of actions with one axis"
    if not isinstance(space, Box):
        raise ConfigError(f"{expected}, found {space}. Choose another task.")
    if len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
        raise ConfigError(f"{expected}, found {space}. Choose another task.")
    if not (space.is_bounded() and (space.low < space.high).all()):
        raise ConfigError(f"{expected}, found {space}. Choose a task whose actions have limits.")
    return space.low.astype(np.float32), space.high.astype(np.float32)


def _name_observation(task_id: str, task: str, env: Any, model: Any) -> tuple[ObservationTerm, ...]:
    from gymnasium.spaces import Dict

    space = env.observation_space
    if isinstance(space, Dict):
        return tuple(
            ObservationTerm(
                name=key, size=_vector_size(task, part), unit="unknown", source=f"observation '{key}'"
            )
            for key, part in space.items()
        )
    size = _vector_size(task, space)
    structure = getattr(env.unwrapped, "observation_structure", None)
    if structure is not None and model is not None:
        note = ", clipped to [-10, 10]" if task_id in _CLIPPED_VELOCITIES else ""
        terms = mujoco_terms.observation_terms(model, structure, note)
    else:
        known = _KNOWN_TERMS.get(task_id, ())
        terms = tuple(ObservationTerm(name=n, size=s, unit=u, source=f) for n, s, u, f in known)
    if sum(term.size for term in terms) == size:
        return terms
    return (ObservationTerm(name="observation", size=size, unit="unknown", source=f"observation of {task}"),)


def _vector_size(task: str, space: Any) -> int:
    from gymnasium.spaces import Box

    if isinstance(space, Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise ConfigError(
        f"task '{task}': expected a vector observation (a Box with one axis, or a Dict of them),"
        f" found {space}. Images and discrete observations are not supported; choose another task."
    )
