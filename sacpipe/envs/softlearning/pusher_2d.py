"""Pusher2d: an arm of three joints in a plane, a puck, and a target.

    Pusher2d-Default-v0        push the puck to the target
    Pusher2d-DefaultReach-v0   bring the hand to the target, which is elsewhere in each episode
    Pusher2d-BlindReach-v0     the same; policy and critics see the joints alone

References:
    rail-berkeley/softlearning at 13cf187, softlearning/environments/gym/mujoco/pusher_2d.py and
    image_pusher_2d.py (starts, observations, costs), models/pusher_2d.xml.
    Haarnoja et al. 2018, arXiv:1803.06773, section 5.1 (composing two policies of the pusher).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.envs.built_task import BuiltTask
from sacpipe.envs.softlearning.mujoco_simulation import MujocoSimulation, Rows, norms, squared_norms
from sacpipe.envs.softlearning.suite import TaskFile
from sacpipe.specs.env_spec import MAX_EPISODE_STEPS, EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import Term, vector_term

_MODEL = "pusher_2d.xml"
_FRAME_SKIP = 5
_VIEW = {"lookat": np.zeros(3), "distance": 4.0, "elevation": -45.0, "azimuth": 0.0}
_JOINTS, _PUCK, _TARGET = slice(0, 3), slice(3, 5), slice(5, 7)
"""Entries of qpos and qvel."""
_TARGET_ORIGIN_M = (0.0, -1.0)
"""Place of the target where its slides are at 0."""
SUCCESS_RADIUS_M = 0.17
"""Radius of the target's disc; nearer than this is a success. Softlearning has no success."""

Coordinate = float | Literal["any"]


class _CommonOptions(Config):
    arm_object_distance_cost_coeff: float = Field(default=0.0, ge=0, le=1e6)
    """Cost of the distance between hand and puck, per metre."""
    ctrl_cost_coeff: float = Field(default=0.1, ge=0, le=1e6)
    """Cost of the sum of squared torques."""
    max_episode_steps: int = Field(default=1000, ge=1, le=MAX_EPISODE_STEPS)


class PushOptions(_CommonOptions):
    """Options of Pusher2d-Default-v0; names and values are Softlearning's."""

    goal: tuple[Coordinate, Coordinate] = (0.0, -1.0)
    """x and y of the target, in metres; `any` for a coordinate that costs nothing."""
    goal_object_distance_cost_coeff: float = Field(default=1.0, ge=0, le=1e6)
    """Cost of the distance between target and puck, per metre."""


class ReachOptions(_CommonOptions):
    """Options of Pusher2d-DefaultReach-v0 and Pusher2d-BlindReach-v0."""

    arm_goal_distance_cost_coeff: float = Field(default=1.0, ge=0, le=1e6)
    """Cost of the distance between hand and target, per metre."""


Read = Callable[[Any], Sequence[float]]
"""Reads the entries of a term from MuJoCo's MjData."""


def _entry(name: str, size: int, unit: str, source: str, read: Read) -> tuple[Term, Read]:
    return vector_term(name, size, unit=unit, source=f"MuJoCo {source}"), read


_VELOCITIES = _entry("joint_angular_velocities", 3, "rad/s", "qvel[0:3]", lambda data: data.qvel[_JOINTS])
_STATE = (
    _entry(
        "joint_angle_sines",
        3,
        "1",
        "qpos[0:3], sines",
        lambda data: [math.sin(angle) for angle in data.qpos[_JOINTS]],  # NumPy's differ with AVX-512
    ),
    _entry(
        "joint_angle_cosines",
        3,
        "1",
        "qpos[0:3], cosines",
        lambda data: [math.cos(angle) for angle in data.qpos[_JOINTS]],
    ),
    _VELOCITIES,
    _entry("hand_position", 3, "m", "xpos of body distal_4", lambda data: data.body("distal_4").xpos),
    _entry("object_position", 3, "m", "xpos of body object", lambda data: data.body("object").xpos),
)
_STATE_AND_GOAL = (
    *_STATE,
    _entry("goal_position", 2, "m", "xpos[0:2] of body goal", lambda data: data.body("goal").xpos[:2]),
)
_JOINTS_ALONE = (
    _entry("joint_angles", 3, "rad", "qpos[0:3]", lambda data: data.qpos[_JOINTS]),
    _VELOCITIES,
)


class _Costs(NamedTuple):
    """Reward terms, each minus a cost, and what `info` has beside them. Shapes (N,)."""

    rewards: dict[str, Rows]
    distances: dict[str, Rows]
    success: str
    """Name of the distance that makes a success."""


class _Rules(Protocol):
    """Rewards and starts of one of the tasks."""

    def costs(self, hand: Rows, puck: Rows, goal: Rows, torques: Rows) -> _Costs:
        """Compute the costs of N states and actions."""
        ...

    def draw(self, random: np.random.Generator) -> tuple[Rows, Rows]:
        """Draw the positions of puck and target, as their slides have them."""
        ...


class _PushRules:
    """Rewards and starts of Pusher2d-Default-v0."""

    def __init__(self, options: PushOptions) -> None:
        self._options = options
        self._axes = [axis for axis in (0, 1) if options.goal[axis] != "any"]
        self._goal = np.array([options.goal[axis] for axis in self._axes], dtype=np.float64)

    def costs(self, hand: Rows, puck: Rows, _goal: Rows, torques: Rows) -> _Costs:
        to_goal, to_hand = norms(puck[:, self._axes] - self._goal), norms(hand - puck)
        options = self._options
        rewards = {
            "reward_goal_object": -options.goal_object_distance_cost_coeff * to_goal,
            "reward_arm_object": -options.arm_object_distance_cost_coeff * to_hand,
            "reward_ctrl": -options.ctrl_cost_coeff * squared_norms(torques),
        }
        distances = {"goal_object_distance": to_goal, "arm_object_distance": to_hand}
        return _Costs(rewards, distances, "goal_object_distance")

    def draw(self, random: np.random.Generator) -> tuple[Rows, Rows]:
        """Draw the positions of puck and target, as their slides have them."""
        puck = random.uniform((0.3, -1.0), (1.0, -0.4))
        target = np.zeros(2)
        for axis, value in zip(self._axes, self._goal, strict=True):
            target[axis] = value - _TARGET_ORIGIN_M[axis]
        return puck, target


class _ReachRules:
    """Rewards and starts of the reaching tasks."""

    def __init__(self, options: ReachOptions) -> None:
        self._options = options

    def costs(self, hand: Rows, puck: Rows, goal: Rows, torques: Rows) -> _Costs:
        to_goal, to_puck = norms(hand[:, :2] - goal[:, :2]), norms(hand[:, :2] - puck[:, :2])
        options = self._options
        rewards = {
            "reward_arm_goal": -options.arm_goal_distance_cost_coeff * to_goal,
            "reward_arm_object": -options.arm_object_distance_cost_coeff * to_puck,
            "reward_ctrl": -options.ctrl_cost_coeff * squared_norms(torques),
        }
        distances = {"arm_goal_distance": to_goal, "arm_object_distance": to_puck}
        return _Costs(rewards, distances, "arm_goal_distance")

    def draw(self, random: np.random.Generator) -> tuple[Rows, Rows]:
        """Draw a target on a ring around the arm, and a puck at least 0.5 m from both axes."""
        angle, radius = random.uniform(0.0, 2.0 * math.pi), random.uniform(0.6, 1.2)
        target = np.array((math.cos(angle) * radius, math.sin(angle) * radius)) - _TARGET_ORIGIN_M
        puck = random.uniform(-1.0, 1.0, 2)
        return np.copysign(np.maximum(np.abs(puck), 0.5), puck), target


def _build(
    kind: Callable[[Any], _Rules],
    entries: Sequence[tuple[Term, Read]],
    task: str,
    options: _CommonOptions,
    render_size: tuple[int, int] | None,
) -> BuiltTask:
    simulation = MujocoSimulation(_MODEL, _FRAME_SKIP, render_size, _VIEW)
    spec = EnvSpec(
        task=task,
        observation=tuple(term for term, _ in entries),
        action=simulation.action_terms(task),
        control_period_s=simulation.period_s,
        max_episode_steps=options.max_episode_steps,
    )
    simulator = Pusher2d(spec.layout, [read for _, read in entries], simulation, kind(options))
    return BuiltTask(spec, simulator, None if entries is _JOINTS_ALONE else simulator.compute_rewards)


TASKS = {
    "Pusher2d-Default-v0": TaskFile(PushOptions, partial(_build, _PushRules, _STATE)),
    "Pusher2d-DefaultReach-v0": TaskFile(ReachOptions, partial(_build, _ReachRules, _STATE_AND_GOAL)),
    "Pusher2d-BlindReach-v0": TaskFile(ReachOptions, partial(_build, _ReachRules, _JOINTS_ALONE)),
}


class Pusher2d:
    """The simulator. As in Softlearning, a reward is that of the state before the step, and of the action."""

    def __init__(
        self, layout: ObservationLayout, reads: Sequence[Read], simulation: MujocoSimulation, rules: _Rules
    ) -> None:
        self._layout, self._reads, self._simulation, self._rules = layout, reads, simulation, rules
        self._bodies = [simulation.data.body(name) for name in ("distal_4", "object", "goal")]

    def start(self, seed: int) -> Observation:
        """Draw the joints near 0, and the places of puck and target."""
        random = np.random.default_rng(seed)
        positions = random.uniform(-0.1, 0.1, 7)
        positions[_PUCK], positions[_TARGET] = self._rules.draw(random)
        self._simulation.start(positions, np.zeros(7))
        return self._observe()

    def advance(self, action: FloatArray) -> tuple[Observation, float, bool, bool, dict[str, float]]:
        """Apply the torques for one period. No episode terminates."""
        hand, puck, goal = (body.xpos[None] for body in self._bodies)
        costs = self._rules.costs(hand, puck, goal, action[None].astype(np.float64))
        info = {name: float(value[0]) for name, value in (costs.rewards | costs.distances).items()}
        reward = sum(info[name] for name in costs.rewards)
        info["is_success"] = info[costs.success] < SUCCESS_RADIUS_M
        self._simulation.advance(action)
        return self._observe(), reward, False, False, info

    def compute_rewards(
        self, observations: Observation, actions: FloatArray, _next_observations: Observation
    ) -> tuple[FloatArray, FloatArray]:
        """Compute rewards and terminations from observations and actions. Shapes (N,)."""
        hand, puck = (observations[name].astype(np.float64) for name in ("hand_position", "object_position"))
        is_observed = "goal_position" in observations  # else the target does not move, and no cost takes it
        goal = observations["goal_position"].astype(np.float64) if is_observed else np.zeros((len(hand), 2))
        costs = self._rules.costs(hand, puck, goal, actions.astype(np.float64))
        rewards = np.asarray(sum(costs.rewards.values()), dtype=np.float32)
        return rewards, np.zeros(len(actions), dtype=np.float32)

    def render(self) -> NDArray[np.uint8]:
        """Return an image from above and in front. Shape (height, width, 3)."""
        return self._simulation.render()

    def close(self) -> None:
        """Free the camera."""
        self._simulation.close()

    def _observe(self) -> Observation:
        parts = [read(self._simulation.data) for read in self._reads]
        return Observation(self._layout, np.concatenate(parts).astype(np.float32), {})
