"""Ant-SimpleMaze-v0 and Ant-CrossMaze-v0: an ant walks to a goal behind walls.

The observation has the terms of a goal environment beside those of the ant, so a sampler of goals
(hindsight) can exchange the desired goal and compute the rewards again.

References:
    rail-berkeley/softlearning, models/simple_maze_ant.xml and cross_maze_ant.xml at 13cf187; before b68a49d,
    softlearning/environments/rllab/{random_goal_ant,simple_maze_ant,cross_maze_ant}_env.py (rewards, ends).
    rllab/rllab, rllab/envs/mujoco/ant_env.py (observation, start).
    Haarnoja et al. 2018, arXiv:1804.02808, section 6.2 (latent space policies in the mazes).
"""

from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.envs import mujoco_terms
from sacpipe.envs.built_task import BuiltTask
from sacpipe.envs.softlearning.mujoco_simulation import MujocoSimulation, Rows, norms, squared_norms
from sacpipe.envs.softlearning.suite import TaskFile
from sacpipe.specs.env_spec import MAX_EPISODE_STEPS, EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import Term, vector_term

SIMPLE_GOAL_M = (6.0, -6.0)
CROSS_GOALS_M = ((6.0, -6.0), (6.0, 6.0), (12.0, 0.0))
_MAX_TORQUE_N_M = 150.0
_HEALTHY_Z_M = (0.2, 1.0)
_BODIES = slice(0, 13)
"""The ant's bodies among those of `contact_forces`."""
_VIEW = {"lookat": np.array([6.0, 0.0, 0.0]), "distance": 26.0, "elevation": -60.0, "azimuth": 90.0}

Point = tuple[float, float]


class MazeOptions(Config):
    """Options of both mazes; names and values are Softlearning's."""

    reward_type: Literal["dense", "sparse"] = "dense"
    """`dense`: weight times (goal_distance - distance to the goal); `sparse`: the weight at the goal."""
    terminate_at_goal: bool = True
    """Whether the episode terminates at the goal."""
    goal_reward_weight: float = Field(default=0.3, ge=0, le=1e6)
    """Weight of the goal's reward, per metre if it is dense."""
    goal_radius: float = Field(default=0.25, gt=0, le=100)
    """The goal is reached within this distance, in metres."""
    goal_distance: float = Field(default=5.0, ge=0, le=100)
    """Distance at which the dense reward of the goal is 0, in metres."""
    velocity_reward_weight: float = Field(default=0.0, ge=0, le=1e6)
    """Reward of the torso's speed in the plane, per m/s."""
    ctrl_cost_coeff: float = Field(default=0.01, ge=0, le=1e6)
    """Twice the cost of the sum of squared torques, each as a share of 150 N m."""
    contact_cost_coeff: float = Field(default=0.001, ge=0, le=1e6)
    """Twice the cost of the sum of squared contact forces, each clipped to [-1, 1]."""
    survive_reward: float = Field(default=0.05, ge=0, le=1e6)
    """Reward of each step."""
    max_episode_steps: int = Field(default=1000, ge=1, le=MAX_EPISODE_STEPS)

    @property
    def goals(self) -> tuple[Point, ...]:
        """Goals, of which each episode has one, in metres."""
        return (SIMPLE_GOAL_M,)


class CrossMazeOptions(MazeOptions):
    """Options of Ant-CrossMaze-v0."""

    fixed_goal_position: Point | None = None
    """Goal of every episode, in metres; null for one of the three ends of the crossing."""

    @property
    def goals(self) -> tuple[Point, ...]:
        """Goals, of which each episode has one, in metres."""
        return CROSS_GOALS_M if self.fixed_goal_position is None else (self.fixed_goal_position,)


def _build(file_name: str, task: str, options: MazeOptions, render_size: tuple[int, int] | None) -> BuiltTask:
    simulation = MujocoSimulation(file_name, 1, render_size, _VIEW)
    spec = EnvSpec(
        task=task,
        observation=_terms(simulation.model),
        action=simulation.action_terms(task),
        control_period_s=simulation.period_s,
        max_episode_steps=options.max_episode_steps,
    )
    simulator = AntMaze(spec.layout, simulation, options)
    return BuiltTask(spec, simulator, simulator.compute_rewards)


TASKS = {
    "Ant-SimpleMaze-v0": TaskFile(MazeOptions, partial(_build, "ant_simple_maze.xml")),
    "Ant-CrossMaze-v0": TaskFile(CrossMazeOptions, partial(_build, "ant_cross_maze.xml")),
}


def _terms(model: Any) -> tuple[Term, ...]:
    position = "MuJoCo xpos of body torso"
    contacts = "MuJoCo cfrc_ext of the ant's bodies, clipped to [-1, 1]"
    return (
        *mujoco_terms.position_terms(model, 0),
        *mujoco_terms.velocity_terms(model, ""),
        vector_term("contact_forces", 78, unit="mixed", source=contacts),
        vector_term("torso_rotation", 9, unit="1", source="MuJoCo xmat of body torso, row by row"),
        vector_term("centre_of_mass", 3, unit="m", source="MuJoCo subtree_com of body torso"),
        vector_term(
            "desired_goal",
            2,
            unit="m",
            source="x and y of the goal",
            groups=("policy", "critic", "desired_goal"),
        ),
        vector_term("achieved_goal", 2, unit="m", source=f"x and y of {position}", groups=("achieved_goal",)),
    )


class AntMaze:
    """The simulator."""

    def __init__(self, layout: ObservationLayout, simulation: MujocoSimulation, options: MazeOptions) -> None:
        self._layout, self._simulation, self._options = layout, simulation, options
        self._goals = goals = options.goals
        self._start = np.array(simulation.model.key("start").qpos)
        self._torso = simulation.data.body("torso")
        self._goal = np.array(goals[0])
        self._contacts = np.zeros(78)

    def start(self, seed: int) -> Observation:
        """Draw the goal, and a state near the start."""
        random = np.random.default_rng(seed)
        self._goal = np.array(self._goals[random.integers(len(self._goals))])
        positions = self._start + 0.01 * random.normal(size=self._start.shape)
        self._simulation.start(positions, 0.1 * random.normal(size=self._simulation.model.nv))
        self._simulation.data.mocap_pos[0, :2] = self._goal
        return self._observe()

    def advance(self, action: FloatArray) -> tuple[Observation, float, bool, bool, dict[str, float]]:
        """Apply the torques for one period."""
        self._simulation.advance(action)
        observation = self._observe()
        position, velocity = self._torso.xpos, self._simulation.data.qvel[:2]
        offset = position[:2] - self._goal
        info = {
            name: float(values[0])
            for name, values in self._reward_terms(
                offset[None], velocity[None], action[None].astype(np.float64), self._contacts[None]
            ).items()
        }
        reward = sum(info.values())
        info["distance_to_goal"] = float(norms(offset[None])[0])
        info["is_success"] = info["distance_to_goal"] < self._options.goal_radius
        at_goal = self._options.terminate_at_goal and bool(info["is_success"])
        is_healthy = _HEALTHY_Z_M[0] <= position[2] <= _HEALTHY_Z_M[1]
        return observation, reward, at_goal or not is_healthy, False, info

    def compute_rewards(
        self, _observations: Observation, actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray]:
        """Compute rewards and terminations from actions and next observations. Shapes (N,)."""
        achieved, desired, velocity, position, contacts = (
            next_observations[name].astype(np.float64)
            for name in (
                "achieved_goal",
                "desired_goal",
                "root_velocity",
                "root_position",
                "contact_forces",
            )
        )
        offset = achieved - desired
        terms = self._reward_terms(offset, velocity[:, :2], actions.astype(np.float64), contacts)
        is_success = (norms(offset) < self._options.goal_radius) & self._options.terminate_at_goal
        is_healthy = (position[:, 2] >= _HEALTHY_Z_M[0]) & (position[:, 2] <= _HEALTHY_Z_M[1])
        rewards = np.asarray(sum(terms.values()), dtype=np.float32)
        return rewards, (is_success | ~is_healthy).astype(np.float32)

    def _reward_terms(self, offset: Rows, velocity: Rows, action: Rows, contacts: Rows) -> dict[str, Rows]:
        """Compute the terms of N rewards. Shapes (N,)."""
        options, distance = self._options, norms(offset)
        is_dense = options.reward_type == "dense"
        at_goal = (distance < options.goal_radius).astype(np.float64)
        nearness = options.goal_distance - distance if is_dense else at_goal
        return {
            "reward_goal": options.goal_reward_weight * nearness,
            "reward_velocity": options.velocity_reward_weight * norms(velocity),
            "reward_survive": np.full(len(offset), options.survive_reward),
            "reward_ctrl": -0.5 * options.ctrl_cost_coeff * squared_norms(action / _MAX_TORQUE_N_M),
            "reward_contact": -0.5 * options.contact_cost_coeff * squared_norms(contacts),
        }

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the whole maze. Shape (height, width, 3)."""
        return self._simulation.render()

    def close(self) -> None:
        """Free the camera."""
        self._simulation.close()

    def _observe(self) -> Observation:
        data = self._simulation.data
        self._contacts = np.clip(self._simulation.contact_forces()[_BODIES], -1.0, 1.0).ravel()
        parts = (
            data.qpos,
            data.qvel,
            self._contacts,
            self._torso.xmat,
            self._simulation.centre_of_mass("torso"),
            self._goal,
            self._torso.xpos[:2],
        )
        return Observation(self._layout, np.concatenate(parts).astype(np.float32), {})
