"""Tasks of dm_control's composer, in the task suite dm_control: manipulation with a Jaco arm, and locomotion.

An id is `manipulation-` or `locomotion-`, and the name by which dm_control itself loads the task:
`manipulation-reach_site_features`, `locomotion-cmu_humanoid_go_to_target`. A task that observes a camera's
image is refused, because dm_control renders it with an OpenGL of its own in each step.

References:
    Tunyasuvunakool et al. 2020, arXiv:2006.12983, sections 5.3 (manipulation) and 5.1 (locomotion).
"""

import functools
import importlib
import importlib.util
import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.envs import mujoco_terms
from sacpipe.envs.base import TaskSection, nearest, unknown_task
from sacpipe.envs.built_task import BuiltTask
from sacpipe.envs.dm_control import DmControlSimulator, mujoco_model, read_bounds
from sacpipe.envs.info_metrics import refuse_metrics
from sacpipe.envs.observation_reader import array_term
from sacpipe.envs.rendering.opengl import without_opengl
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.terms import Term

_MANIPULATION, _LOCOMOTION = "manipulation-", "locomotion-"
_TASKS = {
    _MANIPULATION: (
        "lift_brick_features",
        "lift_large_box_features",
        "place_brick_features",
        "place_cradle_features",
        "reach_duplo_features",
        "reach_site_features",
        "reassemble_3_bricks_fixed_order_features",
        "reassemble_5_bricks_random_order_features",
        "stack_2_bricks_features",
        "stack_2_bricks_moveable_base_features",
        "stack_2_of_3_bricks_random_order_features",
        "stack_3_bricks_features",
        "stack_3_bricks_random_order_features",
    ),
    _LOCOMOTION: ("cmu_humanoid_go_to_target",),
}
"""Names of dm_control; a list of our own, because dm_control needs seconds to be imported."""
_NEEDS = {_MANIPULATION: "dm_control", _LOCOMOTION: "labmaze"}
"""Packages without which the tasks cannot be imported."""
_TIME_LIMITS_S = {_MANIPULATION: 10.0, _LOCOMOTION: 30.0}
_KEEP_STATE = ("reassemble_5_bricks_random_order_features",)
"""Tasks that carry state from one episode to the next: this one shuffles the last order of its bricks."""
_WITH_CAMERA = ("_vision", "_run_walls", "_run_gaps", "_forage", "_escape_bowl", "_two_touch")
"""Last characters of the names of tasks that observe a camera's image."""

_ACTION_UNITS = {_MANIPULATION: "rad/s", _LOCOMOTION: "1"}
"""Units of actions: velocities that servos of arm and fingers keep; shares of the ranges of joint angles."""
_UNITS = {
    "angular_velocity": "rad/s",
    "appendages_pos": "m",
    "body_height": "m",
    "desired_order": "1",
    "end_effectors_pos": "m",
    "joints_pos": "rad",
    "joints_torque": "N m",
    "joints_vel": "rad/s",
    "linear_velocity": "m/s",
    "orientation": "1",
    "pinch_site_pos": "m",
    "pinch_site_rmat": "1",
    "position": "m",
    "sensors_accelerometer": "m/s^2",
    "sensors_gyro": "rad/s",
    "sensors_torque": "1",
    "sensors_touch": "1",
    "sensors_velocimeter": "m/s",
    "target": "m",
    "target_position": "m",
    "world_zaxis": "1",
}
"""Units by the last part of an observation's name. dm_control scales and squashes a walker's torques."""


class ComposerOptions(Config):
    """Options of the tasks."""

    time_limit: float | None = Field(default=None, gt=0, le=1e6)
    """Time limit in seconds; null for dm_control's own, 10 s of manipulation and 30 s of locomotion."""


def task_ids() -> list[str]:
    """List the ids of the tasks whose packages are installed."""
    return [
        f"{kind}{name}"
        for kind, names in _TASKS.items()
        if importlib.util.find_spec(_NEEDS[kind]) is not None
        for name in names
    ]


def build(section: TaskSection, render_size: tuple[int, int] | None) -> BuiltTask:
    """Build a task.

    Raises:
        UnknownTaskError: no such task.
        ConfigError: the task observes a camera's image; an option is unknown or out of its range; metrics are
            named; or dm_control cannot be imported.
        RendererError: a render size is given and no renderer works here.
    """
    _check_id(section)
    refuse_metrics(section.suite_name, section.metrics)
    kind = next(kind for kind in _TASKS if section.id.startswith(kind))
    options = ComposerOptions.parse(section.options, where="task.options")
    limit_s = _TIME_LIMITS_S[kind] if options.time_limit is None else options.time_limit
    name = section.id.removeprefix(kind)
    env = _load(kind, name)
    period_s = float(env.control_timestep())
    terms = _terms(section.name, env)
    bounds = read_bounds(section.name, env.action_spec())
    actions = mujoco_terms.action_terms(mujoco_model(env), *bounds)
    spec = EnvSpec(
        task=section.name,
        observation=tuple(terms.values()),
        action=tuple(action.replace(unit=_ACTION_UNITS[kind]) for action in actions),
        control_period_s=period_s,
        max_episode_steps=math.ceil(round(limit_s / period_s, 6)),
    )
    reload = functools.partial(_load, kind, name) if name in _KEEP_STATE else None
    return BuiltTask(spec, ComposerSimulator(env, spec, terms, render_size, reload))


def _check_id(section: TaskSection) -> None:
    ids = task_ids()
    if section.id in ids:
        return
    if section.id.endswith(_WITH_CAMERA):
        same_kind = [task_id for task_id in ids if task_id.partition("-")[0] == section.id.partition("-")[0]]
        offer = [*nearest(section.id, ids), *same_kind, *ids][0]
        raise ConfigError(
            f"task '{section.name}' observes a camera's image, for which dm_control needs an OpenGL in each "
            f"step. Choose another task, e.g. {offer}."
        )
    raise unknown_task(section.suite_name, section.id, section.tasks())


def _load(kind: str, name: str) -> Any:
    """Return the environment without a time limit, which `TaskEnvironment` keeps.

    Raises:
        ConfigError: dm_control cannot be imported.
    """
    try:
        with without_opengl():
            from dm_control import composer

            if kind == _MANIPULATION:
                importlib.import_module("dm_control.manipulation")  # registers its tasks
                from dm_control.manipulation.shared import registry

                task = registry.get_constructor(name)()
            else:
                from dm_control.locomotion.examples import basic_cmu_2019

                task = getattr(basic_cmu_2019, name)().task
    except ImportError as exc:
        raise ConfigError(f"this task needs the packages dm_control and labmaze: {exc}.") from exc
    mujoco_terms.route_warnings()
    logging.getLogger("absl").addFilter(_is_news)
    return composer.Environment(task=task, random_state=0, strip_singleton_obs_buffer_dim=True)


def _is_news(record: logging.LogRecord) -> bool:
    """Drop a warning of most starts: inverse kinematics missed a pose, and dm_control draws another."""
    return not str(record.msg).startswith("Failed to converge after")


def _terms(task: str, env: Any) -> dict[str, Term]:
    """Return the terms by key; a walker without a kind of sensor has an observation without entries."""
    entries = env.observation_spec().items()
    return {key: _term(task, key, array) for key, array in entries if math.prod(array.shape) > 0}


def _term(task: str, key: str, array: Any) -> Term:
    term = array_term(key, array.shape, array.dtype, source=f"observation '{key}' of {task}")
    unit = _UNITS.get(key.rpartition("/")[2], "unknown")
    is_pairs = key.endswith("joints_pos") and len(array.shape) == 2  # sine and cosine of each angle
    return term.replace(unit="1" if is_pairs else unit)


class ComposerSimulator(DmControlSimulator):
    """One environment of the composer, whose model is compiled again for each episode.

    Args:
        env: The environment.
        spec: Of the task.
        keys: As of `DmControlSimulator`.
        render_size: Likewise.
        reload: Makes the environment anew for each episode, if it keeps state; else None.
    """

    def __init__(
        self,
        env: Any,
        spec: EnvSpec,
        keys: Iterable[str],
        render_size: tuple[int, int] | None,
        reload: Callable[[], Any] | None,
    ) -> None:
        super().__init__(env, spec, keys, render_size)
        self._reload = reload
        self.modules = (type(self).__module__, *self.modules)

    def start(self, seed: int) -> Observation:
        """Start the episode of a seed and return its first observation."""
        if self._reload is not None:
            self._env.close()
            self._env = self._reload()
        self._env.random_state.seed(seed)
        observation = self._read(self._env.reset().observation)
        self._open_camera()
        return observation
