"""The `EnvSpec` of a Gymnasium task: observation and action terms with names, units and bounds.

MuJoCo v5 tasks describe most of their terms; `_KNOWN_TERMS` has the terms of tasks that do not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sacpipe.core.errors import ConfigError
from sacpipe.envs import mujoco_terms
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.step_values import ObservationPart
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


_KNOWN_PERIODS_S = {"Pendulum-v1": 0.05}
"""Control periods of tasks without MuJoCo."""


def read_spec(
    task_id: str, task: str, env: Any, limit: int | None, parts: Sequence[ObservationPart]
) -> EnvSpec:
    """Read the specification of an unwrapped environment.

    Args:
        task_id: Registered id of the task.
        task: Task suite and id.
        env: The environment without Gymnasium's own wrappers.
        limit: Time limit in steps, or None.
        parts: Arrays of the observation, see `observation_parts`.

    Raises:
        ConfigError: the action space is not a bounded Box.
    """
    low, high = _bounds(task, env.action_space)
    model = mujoco_terms.compiled_model(env.unwrapped)
    if model is not None and model.nu == len(low):
        action = mujoco_terms.action_terms(model, low, high)
    else:
        names = _KNOWN_ACTIONS.get(task_id) or [(f"action_{index}", "unknown") for index in range(len(low))]
        action = tuple(
            ActionTerm(name=name, unit=unit, low=float(low[index]), high=float(high[index]))
            for index, (name, unit) in enumerate(names)
        )
    return EnvSpec(
        task=task,
        observation=_name_observation(task_id, task, env, model, parts),
        action=action,
        control_period_s=_control_period_s(task_id, env.unwrapped, model),
        max_episode_steps=limit,
    )


def _control_period_s(task_id: str, task: Any, model: Any) -> float | None:
    """Return the time between two actions; None if the task does not tell it.

    The attribute `dt` is the control period of Gymnasium's MuJoCo tasks only. Elsewhere it is often the
    simulator's own step.
    """
    period = getattr(task, "control_period_s", None)
    if period is None and model is not None:
        period = getattr(task, "dt", None)
    if period is None:
        period = _KNOWN_PERIODS_S.get(task_id)
    return None if period is None else float(period)


def _bounds(task: str, space: Any) -> tuple[FloatArray, FloatArray]:
    from gymnasium.spaces import Box

    if not isinstance(space, Box) or len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
        raise ConfigError(
            f"task '{task}': expected a bounded, continuous Box of actions with one axis, found {space}."
            " Choose another task."
        )
    return action_bounds(task, space.low, space.high)


def observation_parts(task: str, space: Any) -> tuple[ObservationPart, ...]:
    """Return the arrays of an observation space: a vector, a number, or Dicts of these, in the space's order.

    Raises:
        ConfigError: an entry is an image, a category, a text, or another space that is no vector of numbers.
    """
    return tuple(_parts(task, space, ()))


def _parts(task: str, space: Any, path: tuple[Any, ...]) -> list[ObservationPart]:
    from gymnasium.spaces import Box, Dict, MultiBinary

    if isinstance(space, Dict):
        return [part for key, entry in space.items() for part in _parts(task, entry, (*path, key))]
    if isinstance(space, Box | MultiBinary) and len(space.shape) <= 1:
        return [ObservationPart(path, tuple(space.shape))]
    entry = f" at the entry '{'/'.join(map(str, path))}'" if path else ""
    raise ConfigError(
        f"task '{task}': expected a vector observation (a Box or MultiBinary with at most one axis, or a Dict"
        f" of them), found {space}{entry}. Images and discrete observations are not supported; choose another"
        " task, or convert the entry in a wrapper."
    )


def _name_observation(
    task_id: str, task: str, env: Any, model: Any, parts: Sequence[ObservationPart]
) -> tuple[ObservationTerm, ...]:
    if parts and parts[0].path:
        return tuple(
            ObservationTerm(
                name=part.name, size=part.size, unit="unknown", source=f"observation '{part.name}'"
            )
            for part in parts
        )
    size = sum(part.size for part in parts)
    structure = getattr(env.unwrapped, "observation_structure", None)
    if isinstance(structure, dict) and model is not None:
        note = ", clipped to [-10, 10]" if task_id in _CLIPPED_VELOCITIES else ""
        terms = mujoco_terms.observation_terms(model, structure, note)
    else:
        known = _KNOWN_TERMS.get(task_id, ())
        terms = tuple(ObservationTerm(name=n, size=s, unit=u, source=f) for n, s, u, f in known)
    if sum(term.size for term in terms) == size:
        return terms
    return (ObservationTerm(name="observation", size=size, unit="unknown", source=f"observation of {task}"),)
