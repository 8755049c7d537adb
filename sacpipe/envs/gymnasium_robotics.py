"""The task suite `gymnasium_robotics`: Fetch, Hand, Adroit, PointMaze, AntMaze and Kitchen.

A suite of its own, so that these tasks are listed without building 100 of them, that what is repaired and
named of them is no part of other tasks' identity, and that a missing package is one message. The package
registers its ids with Gymnasium; layers have what each family needs. Names, sizes and units of terms are
those of gymnasium_robotics 1.4.2, module by module.
"""

import contextlib
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from sacpipe.core.errors import ConfigError
from sacpipe.envs.base import require_package
from sacpipe.envs.gymnasium_layers import Layer
from sacpipe.envs.gymnasium_registered import RegisteredTask, import_gymnasium, newest_versions
from sacpipe.envs.mujoco_terms import observation_terms
from sacpipe.envs.rendering.opengl import without_opengl

_Terms = Sequence[tuple[str, int, str, str]]
"""Name, size, unit and source of terms, in the order of an array's entries."""

_GRIPPER: _Terms = (
    ("gripper_position", 3, "m", "MuJoCo site_xpos of robot0:grip"),
    ("finger_positions", 2, "m", "MuJoCo qpos of the two finger joints"),
    ("gripper_velocity", 3, "m", "velocity of the site robot0:grip times the control period"),
    ("finger_velocities", 2, "m", "MuJoCo qvel of the two finger joints times the control period"),
)
_GRIPPER_AND_OBJECT: _Terms = (
    _GRIPPER[0],
    ("object_position", 3, "m", "MuJoCo site_xpos of object0"),
    ("object_from_gripper", 3, "m", "position of object0 minus that of the gripper"),
    _GRIPPER[1],
    ("object_rotation", 3, "rad", "Euler angles of the site object0"),
    ("object_velocity", 3, "m", "velocity of object0 minus the gripper's, times the control period"),
    ("object_angular_velocity", 3, "rad", "angular velocity of object0 times the control period"),
    *_GRIPPER[2:],
)
_JOINTS: _Terms = (
    ("joint_angles", 24, "rad", "MuJoCo qpos of the hand's joints"),
    ("joint_angular_velocities", 24, "rad/s", "MuJoCo qvel of the hand's joints"),
)
_FINGERTIPS: _Terms = (*_JOINTS, ("fingertip_positions", 15, "m", "MuJoCo site_xpos of the five fingertips"))
_POINT: _Terms = (
    ("position", 2, "m", "MuJoCo qpos[0:2]"),
    ("velocity", 2, "m/s", "MuJoCo qvel[0:2]"),
)


class Positions(Layer):
    """A goal task whose goals are positions: their distance in metres is the metric `goal_distance`."""

    observed: ClassVar[Mapping[int, _Terms]] = {}
    """Terms of the entry `observation` by its length, where they are known."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        size = self.env.observation_space["achieved_goal"].shape[0]
        self.observation_terms: dict[str, _Terms] = {
            "achieved_goal": (("achieved_goal", size, "m", "what the state reaches"),),
            "desired_goal": (("desired_goal", size, "m", "what the episode asks for"),),
        }
        known = self.observed.get(self.env.observation_space["observation"].shape[0])
        if known is not None:
            self.observation_terms["observation"] = known

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Step, and measure the distance of the goals."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        distance = math.dist(observation["achieved_goal"], observation["desired_goal"])
        return observation, reward, terminated, truncated, self.described(info) | {"goal_distance": distance}

    def described(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entries of `info` that the task has by itself."""
        return dict(info)


class Targets(Positions):
    """A task whose model has sites `target0`, ... that only the package's own render() moves to the goals."""

    def draw_goal(self) -> None:
        """Move the sites to the goals for a picture; the next step computes all places of sites again."""
        task = self.env.unwrapped
        for index, place in enumerate(task.goal.reshape(-1, 3)):
            task.data.site(f"target{index}").xpos[:] = place


class Fetch(Targets):
    """A gripper, and in most tasks an object."""

    observed: ClassVar[Mapping[int, _Terms]] = {10: _GRIPPER, 25: _GRIPPER_AND_OBJECT}


class Fingertips(Targets):
    """The Shadow hand without an object: its goals are the places of five fingertips."""

    observed: ClassVar[Mapping[int, _Terms]] = {63: _FINGERTIPS}


class Maze(Positions):
    """A point or an ant in a maze.

    The ant's observation lacks its place, so its policy sees the achieved goal. The ant's own reward terms,
    which the maze does not use, are entries of `ant`.
    """

    observed: ClassVar[Mapping[int, _Terms]] = {4: _POINT}

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        task = self.env.unwrapped
        # The model is compiled; the task leaves its file.
        Path(task.tmp_xml_file_path).unlink(missing_ok=True)
        self._is_ant = hasattr(task, "ant_env")
        self._robot = task.ant_env if self._is_ant else task.point_env
        self.control_period_s = float(self._robot.dt)
        self.mujoco_renderer = self._robot.mujoco_renderer
        if self._is_ant:
            self.observation_groups = {"achieved_goal": ["policy", "critic", "achieved_goal"]}
            self.observation_terms |= _ant_terms(self._robot)

    def described(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Return `success`, and the ant's own entries below it."""
        rest = {name: value for name, value in info.items() if name != "success"}
        return {"success": info["success"]} | ({"ant": rest} if self._is_ant else rest)


def _ant_terms(ant: Any) -> dict[str, _Terms]:
    """Return the terms of an ant's observation without its first two entries, its place."""
    structure = dict(getattr(ant, "observation_structure", {}))
    if structure.get("skipped_qpos", 1) != 0:  # of an ant of Gymnasium-Robotics' own, before v5
        return {}
    structure |= {"skipped_qpos": 2, "qpos": structure["qpos"] - 2}
    terms = observation_terms(ant.model, structure, "")
    return {"observation": [(term.name, term.size, term.unit, term.source) for term in terms]}


class Kitchen(Layer):
    """A robot arm in a kitchen; `completed_tasks` and `success` are numbers that its `info` has as lists.

    By default a completed task gives its reward once, so that a reward depends on the episode so far. With
    the options `remove_task_when_completed` and `terminate_on_tasks_completed` false, rewards are a function
    of the goals, and there is no termination.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        task = self.env.unwrapped
        self.control_period_s = float(task.robot_env.dt)
        self.mujoco_renderer = task.robot_env.mujoco_renderer
        is_function = not (task.remove_task_when_completed or task.terminate_on_tasks_completed)
        self.compute_reward = task.compute_reward if is_function else None
        self.compute_terminated = _never

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Step, and count."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        completed = len(info["episode_task_completions"])
        counts = {"completed_tasks": completed, "success": completed == len(self.env.unwrapped.goal)}
        return observation, reward, terminated, truncated, info | counts


def _never(_achieved: Any, _desired: Any, _info: Any) -> bool:
    return False


_LAYERS: dict[str, type[Layer]] = {
    "fetch.": Fetch,
    "franka_kitchen.": Kitchen,
    "maze.": Maze,
    "shadow_dexterous_hand.reach": Fingertips,
}
"""Layers by the beginning of the name of the task's module."""


_LOGGER = logging.getLogger(__name__)
_PACKAGE = "gymnasium_robotics"
_FAMILIES = tuple(
    f"{_PACKAGE}.envs.{family}"
    for family in ("adroit_hand", "fetch", "franka_kitchen", "maze", "shadow_dexterous_hand")
)
"""Beginnings of the modules' names; the package has old versions of Gymnasium's own tasks too."""


class RoboticsTask(RegisteredTask):
    """`task` section of the task suite gymnasium_robotics."""

    suite_name: ClassVar[str] = "gymnasium_robotics"

    @classmethod
    def import_packages(cls) -> Any:
        """Import Gymnasium-Robotics, which registers its tasks; return the module gymnasium.

        Raises:
            ConfigError: a package is not installed.
        """
        gym = import_gymnasium(cls.suite_name)
        require_package(f"task suite '{cls.suite_name}'", _PACKAGE, "robotics")
        with without_opengl(), contextlib.redirect_stderr(io.StringIO()) as notice:
            import gymnasium_robotics  # prints its authors' announcements

            gym.register_envs(gymnasium_robotics)
        if notice.getvalue().strip():
            _LOGGER.debug("gymnasium_robotics: %s", notice.getvalue().strip())
        return gym

    @classmethod
    def has_module(cls, name: str) -> bool:
        """Return whether a module is of one of the six families."""
        return name.startswith(_FAMILIES)

    def adapt(self, env: Any) -> Any:
        """Put the layer of the task's family around it; Adroit, and the hand with an object, have none."""
        module = type(env.unwrapped).__module__.removeprefix(f"{_PACKAGE}.envs.")
        return next((kind for start, kind in _LAYERS.items() if module.startswith(start)), Layer)(env)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the newest version of every id of the six families."""
        try:
            gym = cls.import_packages()
        except ConfigError:
            return ()
        return tuple(sorted(newest_versions(gym, cls.has_module)))

    @classmethod
    def example(cls) -> Self:
        """Return a gripper that is to reach a point, with its metrics."""
        metrics = ("is_success", "goal_distance")
        return cls(suite="gymnasium_robotics", id="FetchReach-v4", options={}, metrics=metrics)
