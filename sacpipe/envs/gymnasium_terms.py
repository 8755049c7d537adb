"""The `EnvSpec` of a Gymnasium task: observation and action terms with names, units and bounds.

MuJoCo v5 tasks describe most of their terms; `_KNOWN_TERMS` has the terms of tasks that do not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sacpipe.core.errors import ConfigError
from sacpipe.envs import mujoco_terms
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.gymnasium_layers import task_attribute
from sacpipe.envs.observation_reader import ObservationPart, array_term
from sacpipe.envs.step_values import foreign_text
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import BOTH, ActionTerm, Group, Term, vector_term

_GROUPS: tuple[Group, ...] = ("policy", "critic", "achieved_goal", "desired_goal")


def declared_parts(task: str, env: Any, parts: Sequence[ObservationPart]) -> tuple[ObservationPart, ...]:
    """Return the arrays of an observation with the terms that the task declares in `observation_terms`.

    Args:
        task: Task suite and id without its module.
        env: The environment. Its attribute `observation_terms` maps the name of an entry of the observation
            to a list of (name, size, unit, source), in the order of the array's entries.
        parts: Arrays of the observation.

    Raises:
        ConfigError: an entry of `observation_terms` is no such list, or does not fill its array.
    """
    declared = _mapping(task, env, "observation_terms")
    known = {part.name for part in parts}
    if unknown := [key for key in declared if key not in known]:
        raise ConfigError(
            f"task '{task}': observation_terms: expected entries of the observation "
            f"({', '.join(sorted(known)[:20])}), found {unknown[0]!r}."
        )
    return tuple(
        part._replace(terms=_terms(task, part, declared[part.name])) if part.name in declared else part
        for part in parts
    )


def _terms(task: str, part: ObservationPart, listed: Any) -> tuple[Term, ...]:
    groups = part.terms[0].groups
    try:
        terms = tuple(
            vector_term(name, size, unit=unit, source=source, groups=groups)
            for name, size, unit, source in listed
        )
    except (TypeError, ValueError) as exc:
        raise ConfigError(
            f"task '{task}': observation_terms of '{part.name}': expected a list of (name, size, unit, "
            f"source), found {foreign_text(listed, repr)[:60]}."
        ) from exc
    if part.is_image or len(part.shape) != 1 or sum(term.size for term in terms) != part.shape[0]:
        raise ConfigError(
            f"task '{task}': observation_terms of '{part.name}': expected {part.shape} numbers in all, found "
            f"{sum(term.size for term in terms)}."
        )
    return terms


def regrouped_parts(task: str, env: Any, parts: Sequence[ObservationPart]) -> tuple[ObservationPart, ...]:
    """Return the arrays of an observation with the groups that the task declares in `observation_groups`.

    Args:
        task: Task suite and id without its module.
        env: The environment. Its attribute `observation_groups` maps the name of a term, or of an entry of
            the observation, to a list of groups.
        parts: Arrays of the observation.

    Raises:
        ConfigError: it is no mapping from names of entries to lists of groups.
    """
    groups: dict[str, tuple[Group, ...]] = {}
    for key, listed in _mapping(task, env, "observation_groups").items():
        members = [term.name for part in parts for term in part.terms if _is_of(key, term.name, part.name)]
        if not members:
            names = [term.name for part in parts for term in part.terms]
            raise ConfigError(
                f"task '{task}': observation_groups: expected entries of the observation "
                f"({', '.join(names[:20])}), found {key!r}."
            )
        is_list = isinstance(listed, list | tuple) and len(listed) > 0
        if not is_list or any(group not in _GROUPS for group in listed):
            raise ConfigError(
                f"task '{task}': observation_groups of '{key}': expected a list of {', '.join(_GROUPS)}, "
                f"found {foreign_text(listed, repr)[:60]}."
            )
        groups |= dict.fromkeys(members, tuple(group for group in _GROUPS if group in listed))
    return tuple(part._replace(terms=tuple(_regroup(term, groups) for term in part.terms)) for part in parts)


def _is_of(key: Any, *names: str) -> bool:
    return any(name == key or name.startswith(f"{key}/") for name in names if name)


def _mapping(task: str, env: Any, name: str) -> Mapping[Any, Any]:
    declared = task_attribute(env, name)
    if declared is None:
        return {}
    if not isinstance(declared, Mapping):
        found = foreign_text(declared, repr)[:60]
        raise ConfigError(f"task '{task}': {name}: expected a mapping, found {found}.")
    return declared


def _regroup(term: Term, groups: Mapping[str, tuple[Group, ...]]) -> Term:
    return term.replace(groups=groups[term.name]) if term.name in groups else term


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


_KNOWN_PERIODS_S = {
    "BipedalWalker-v3": 0.02,
    "BipedalWalkerHardcore-v3": 0.02,
    "LunarLander-v3": 0.02,
    "LunarLanderContinuous-v3": 0.02,
    "Pendulum-v1": 0.05,
}
"""Control periods of tasks without MuJoCo."""


_GOAL_GROUPS: dict[str, tuple[Group, ...]] = {
    "achieved_goal": ("achieved_goal",),
    "desired_goal": ("policy", "critic", "desired_goal"),
}
"""Groups of the entries of a goal environment, whose observation is a Dict with these and `observation`."""


def read_spec(task: str, env: Any, limit: int | None, parts: Sequence[ObservationPart]) -> EnvSpec:
    """Read the specification of an unwrapped environment.

    Args:
        task: Task suite and id without its module.
        env: The environment without Gymnasium's own wrappers.
        limit: Time limit in steps, or None.
        parts: Arrays of the observation, see `observation_parts`.

    Raises:
        ConfigError: the action space is not a bounded Box.
    """
    task_id = _task_id(task)
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
        observation=tuple(term for part in parts for term in part.terms),
        action=action,
        control_period_s=_control_period_s(task_id, env, model),
        max_episode_steps=limit,
    )


def _control_period_s(task_id: str, env: Any, model: Any) -> float | None:
    """Return the time between two actions; None if the task does not tell it.

    The attribute `dt` is the control period of Gymnasium's MuJoCo tasks only. Elsewhere it is often the
    simulator's own step.
    """
    period = task_attribute(env, "control_period_s")
    if period is None and model is not None:
        period = getattr(env.unwrapped, "dt", None)
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


def observation_parts(task: str, env: Any) -> tuple[ObservationPart, ...]:
    """Return the arrays of a task's observation in order, with their terms: one array, or Dicts of arrays.

    Args:
        task: Task suite and id without its module.
        env: The environment without Gymnasium's own wrappers.

    Raises:
        ConfigError: an entry is a category, a text, or another space that is no array; or the task's
            `observation_groups` are wrong.
    """
    space = env.observation_space
    found = tuple(_parts(task, space, (), _is_goal_space(space)))
    if len(found) == 1 and not found[0].path and found[0].terms[0].dtype == "float32":
        found = (found[0]._replace(terms=_vector_terms(task, env, found[0])),)
    found = declared_parts(task, env, found)
    return regrouped_parts(task, env, found)


def _parts(task: str, space: Any, path: tuple[Any, ...], is_goal_space: bool) -> list[ObservationPart]:
    from gymnasium.spaces import Box, Dict, MultiBinary

    if isinstance(space, Dict):
        entries = space.items()
        return [part for key, entry in entries for part in _parts(task, entry, (*path, key), is_goal_space)]
    name = "/".join(map(str, path))
    if not isinstance(space, Box | MultiBinary):
        entry = f" at the entry '{name}'" if path else ""
        raise ConfigError(
            f"task '{task}': expected an observation of arrays (a Box or MultiBinary, or a Dict of them), "
            f"found {space}{entry}. Discrete observations are not supported; choose another task, or convert "
            "the entry in a wrapper."
        )
    groups = _GOAL_GROUPS.get(path[0], BOTH) if is_goal_space and path else BOTH
    source = f"observation '{name}'" if path else f"observation of {task}"
    term = array_term(name or "observation", space.shape, space.dtype, source=source, groups=groups)
    return [ObservationPart(path, term.shape, (term,))]


def _is_goal_space(space: Any) -> bool:
    from gymnasium.spaces import Dict

    return isinstance(space, Dict) and {"observation", *_GOAL_GROUPS} <= space.spaces.keys()


def _vector_terms(task: str, env: Any, part: ObservationPart) -> tuple[Term, ...]:
    """Return the terms of an observation that is one array of numbers: named ones where they are known."""
    task_id, model = _task_id(task), mujoco_terms.compiled_model(env.unwrapped)
    structure = getattr(env.unwrapped, "observation_structure", None)
    if isinstance(structure, dict) and model is not None:
        note = ", clipped to [-10, 10]" if task_id in _CLIPPED_VELOCITIES else ""
        terms = mujoco_terms.observation_terms(model, structure, note)
    else:
        known = _KNOWN_TERMS.get(task_id, ())
        terms = tuple(vector_term(name, size, unit=unit, source=src) for name, size, unit, src in known)
    return terms if len(part.shape) == 1 and sum(term.size for term in terms) == part.shape[0] else part.terms


def _task_id(task: str) -> str:
    return task.partition("/")[2]
