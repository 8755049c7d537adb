"""The task suite `robosuite`: manipulation by one arm or two, of robosuite 1.5.2.

An id is the name of robosuite's environment, e.g. `Lift`. robosuite's own pins exclude NumPy 2, so it is
installed beside the product without them, by `make robosuite`; robosuite_compat.py repairs it on today's
MuJoCo. It is imported inside `make()` only.

References:
    Zhu et al. 2020, arXiv:2009.12293 (tasks, controllers, benchmark).
"""

import contextlib
import importlib
import importlib.util
import io
import logging
import math
import operator
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.envs import mujoco_terms
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.base import Options, unknown_task
from sacpipe.envs.built_task import BuiltTask, BuiltTaskSection
from sacpipe.envs.observation_reader import ObservationPart, array_term, observation_reader
from sacpipe.envs.rendering.camera import OptionalCamera
from sacpipe.envs.rendering.opengl import without_opengl
from sacpipe.envs.robosuite_compat import mujoco_data, mujoco_model, repair_robosuite
from sacpipe.specs.env_spec import MAX_EPISODE_STEPS, EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import ActionTerm, Term

_LOGGER = logging.getLogger(__name__)
_VERSION = "1.5.2"
_INSTALLATION = (
    "`make robosuite` builds an environment with it, .robosuite; in one of your own, "
    "`pip install numba termcolor opencv-python-headless` and "
    f"`pip install --no-deps robosuite=={_VERSION}` install it"
)
_TASKS = (
    "Door", "Lift", "NutAssembly", "NutAssemblyRound", "NutAssemblySquare", "PickPlace", "PickPlaceBread",
    "PickPlaceCan", "PickPlaceCereal", "PickPlaceMilk", "Stack", "ToolHang", "TwoArmHandover", "TwoArmLift",
    "TwoArmPegInHole", "TwoArmTransport", "Wipe",
)  # fmt: skip
"""A list of our own, because robosuite needs seconds to be imported."""
_DRAW_FROM_A_SET = ("NutAssemblySingle", "PickPlaceSingle")
"""Tasks that draw an object from a Python set of names, whose order differs from process to process."""
_SPARSE = ("ToolHang", "TwoArmTransport")
"""Tasks without a dense reward."""
_TWO_ARMS = "TwoArm"
"""Beginning of the ids of tasks for two arms."""
_STAGES = {
    "NutAssembly": ("reward_reach", "reward_grasp", "reward_lift", "reward_hover"),
    "PickPlace": ("reward_reach", "reward_grasp", "reward_lift", "reward_hover"),
    "Stack": ("reward_reach", "reward_lift", "reward_stack"),
}
"""What `staged_rewards` of robosuite's classes returns, by the beginning of an id."""
_FRONT_CAMERA, _COLLISION_GROUP = "frontview", 0

_has_succeeded = operator.methodcaller("_check_success")  # robosuite has no public method for it

RobotName = Literal["Baxter", "IIWA", "Jaco", "Kinova3", "Panda", "Sawyer", "UR5e", "XArm7"]
"""Robots of robosuite on a fixed base; Baxter has two arms."""


class RobosuiteOptions(Config):
    """Options of every task; the defaults are robosuite's, but for Wipe's reward, which is dense there."""

    robots: RobotName | tuple[RobotName, RobotName] | None = None
    """Robot, or two of them in a task for two arms; null for Panda, or two Pandas."""
    controller: Literal["IK_POSE", "JOINT_POSITION", "JOINT_TORQUE", "OSC_POSE", "OSC_POSITION"] | None = None
    """What an action is for each arm; null for the robot's own in robosuite, OSC_POSE of Panda.

    JOINT_VELOCITY is left out: robosuite 1.5.2 raises an AttributeError when it makes it.
    """
    reward_shaping: bool = False
    """Whether the reward is dense; else it is that of success alone."""
    horizon: int = Field(default=1000, ge=1, le=MAX_EPISODE_STEPS)
    """Time limit in steps of 0.05 s."""
    hard_reset: bool = True
    """Whether each episode compiles a new model, with sizes of objects drawn anew where a task draws them."""
    object_observations: bool = True
    """Whether the positions of objects are observed, beside the robot's own state."""


class RobosuiteTask(BuiltTaskSection):
    """`task` section of the task suite robosuite."""

    suite_name: ClassVar[str] = "robosuite"

    id: str
    """Name of robosuite's environment, e.g. `Lift`."""
    options: Options
    """Keyword arguments of the task, see `RobosuiteOptions`."""

    def build(self, render_size: tuple[int, int] | None) -> BuiltTask:
        """Build the task; another version of robosuite than this file is for is refused."""
        if self.id in _DRAW_FROM_A_SET:
            raise ConfigError(
                f"task '{self.name}' draws its object in an order that differs from process to process, so a "
                "seed does not determine an episode. Choose the task of one object, e.g. "
                f"{next(name for name in _TASKS if name.startswith(self.id.removesuffix('Single')))}."
            )
        if self.id not in _TASKS:
            raise unknown_task(self.suite_name, self.id, _TASKS)
        options = RobosuiteOptions.parse(self.options, where="task.options")
        _check_options(self, options)
        robosuite = _import_robosuite()
        env = _build(robosuite, self.id, options)
        spec = EnvSpec(
            task=self.name,
            observation=observation_terms(env, self.name),
            action=action_terms(env, self.name),
            control_period_s=float(env.control_timestep),
            max_episode_steps=options.horizon,
        )
        return BuiltTask(spec, RobosuiteSimulator(env, spec, self.id, render_size))

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the ids, sorted."""
        return () if importlib.util.find_spec("robosuite") is None else _TASKS

    @classmethod
    def example(cls) -> Self:
        """Return an arm that is to lift a cube, with success as a metric."""
        options: Options = {"horizon": 40, "reward_shaping": True, "hard_reset": False}
        return cls(suite="robosuite", id="Lift", options=options, metrics=("success",))


class RobosuiteSimulator:
    """One environment of robosuite.

    Args:
        env: The environment.
        spec: Of the task.
        task_id: Name of the environment.
        render_size: Size of images, (height, width) in pixels; None for no rendering.
    """

    def __init__(self, env: Any, spec: EnvSpec, task_id: str, render_size: tuple[int, int] | None) -> None:
        self._env, self._camera = env, OptionalCamera(render_size)
        # numba compiles the controllers' arithmetic, so its version counts for results
        self.modules = (type(self).__module__, type(env).__module__, "numba")
        parts = [ObservationPart((term.name,), term.shape, (term,)) for term in spec.observation]
        self._read = observation_reader(spec.layout, parts)
        self._stages = next((names for kind, names in _STAGES.items() if task_id.startswith(kind)), ())
        self._open_camera()

    def start(self, seed: int) -> Observation:
        """Start the episode of a seed and return its first observation.

        Samplers of placements keep the generator with which they were made, so its state is replaced.
        """
        self._env.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        observation = self._read(self._env.reset())
        self._open_camera()
        return observation

    def advance(self, action: FloatArray) -> tuple[Observation, Any, Any, bool, dict[str, Any]]:
        """Apply an action in task units for one control period.

        robosuite's `done` is a termination: its own time limit is switched off.
        """
        observation, reward, done, _ = self._env.step(action.astype(np.float64))
        info = dict(zip(self._stages, self._env.staged_rewards(), strict=True)) if self._stages else {}
        info["success"] = bool(_has_succeeded(self._env))
        return self._read(observation), reward, done, False, info

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the current state from the front. Shape (height, width, 3).

        Raises:
            RendererError: no render size was given.
        """
        return self._camera.render(mujoco_data(self._env.sim.data))

    def close(self) -> None:
        """Free the simulator."""
        self._camera.close()
        self._env.close()

    def _open_camera(self) -> None:
        """Open a camera on the present model."""
        model = mujoco_model(self._env)
        self._camera.open(model, camera=model.camera(_FRONT_CAMERA).id, hidden_groups=(_COLLISION_GROUP,))


def _check_options(task: RobosuiteTask, options: RobosuiteOptions) -> None:
    """Refuse what robosuite would take and leave unused.

    Raises:
        ConfigError: two robots in a task for one; a dense reward of a task that has none.
    """
    if isinstance(options.robots, tuple) and not task.id.startswith(_TWO_ARMS):
        raise ConfigError(
            f"task.options.robots: task '{task.name}' is for one robot, found {', '.join(options.robots)}. "
            f"Name one of them, or choose a task whose name begins with {_TWO_ARMS}."
        )
    if options.reward_shaping and task.id in _SPARSE:
        raise ConfigError(
            f"task.options.reward_shaping: task '{task.name}' has no dense reward in robosuite {_VERSION}. "
            "Set it to false."
        )


def _import_robosuite() -> Any:
    """Import and repair robosuite, without any OpenGL and without its messages.

    Raises:
        ConfigError: robosuite, or a package that it needs, is not installed, or has another version.
    """
    if importlib.util.find_spec("robosuite") is None:
        raise ConfigError(
            f"task suite 'robosuite' needs the package robosuite, which is not installed. {_INSTALLATION}."
        )
    try:
        with without_opengl(), contextlib.redirect_stderr(io.StringIO()):
            import mujoco  # before robosuite, which chooses an OpenGL

            robosuite = importlib.import_module("robosuite")
    except ImportError as exc:
        raise ConfigError(f"task suite 'robosuite' cannot be imported: {exc}. {_INSTALLATION}.") from exc
    found = getattr(robosuite, "__version__", None)
    if found != _VERSION:
        raise ConfigError(
            f"task suite 'robosuite' needs robosuite {_VERSION}, found {found}. {_INSTALLATION}."
        )
    _LOGGER.debug("robosuite %s on MuJoCo %s", found, mujoco.__version__)
    notices = logging.getLogger("robosuite_logs")
    notices.handlers.clear()
    notices.setLevel(logging.ERROR)  # a warning for each simulation step at a joint's limit
    mujoco_terms.route_warnings()
    repair_robosuite()
    return robosuite


def _build(robosuite: Any, task_id: str, options: RobosuiteOptions) -> Any:
    """Build an environment without cameras, whose time limit `TaskEnvironment` keeps."""
    default = ("Panda", "Panda") if task_id.startswith(_TWO_ARMS) else "Panda"
    robots = default if options.robots is None else options.robots
    names = [robots] if isinstance(robots, str) else list(robots)
    return robosuite.make(
        task_id,
        robots=names,
        controller_configs=[_controller(robosuite, options.controller, name) for name in names],
        reward_shaping=options.reward_shaping,
        hard_reset=options.hard_reset,
        use_object_obs=options.object_observations,
        use_camera_obs=False,
        has_renderer=False,
        has_offscreen_renderer=False,
        renderer="mujoco",  # the one without a window
        ignore_done=True,
        seed=0,  # for sizes of objects that are drawn once, without a hard reset
    )


def _controller(robosuite: Any, name: str | None, robot: str) -> Any:
    """Return the configuration of a robot's controllers, with one kind for each arm."""
    if name is None:
        return robosuite.load_composite_controller_config(robot=robot)
    factory = importlib.import_module("robosuite.controllers.composite.composite_controller_factory")
    arms = ["right", "left"] if robot == "Baxter" else ["right"]
    kind = robosuite.load_part_controller_config(default_controller=name)
    return factory.refactor_composite_controller_config(kind, robot, arms)


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
