"""What the page shows of MultiGoal: where a policy goes, and what its critics say of actions. Needs PyTorch.

A picture like this one was Softlearning's example of maximum-entropy behaviour (examples/multi_goal).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sacpipe.algorithms.actor_critic import ActorCritic
from sacpipe.algorithms.base import part_of
from sacpipe.core.errors import CheckpointError
from sacpipe.core.seeding import episode_seed, generator
from sacpipe.envs.base import Environment
from sacpipe.networks.policy_file import read_policy
from sacpipe.params.model import Params
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray
from sacpipe.training.checkpoint import LEARNER_PREFIX, intact_checkpoints

GRID = 31
"""Actions along each axis at which the critics of `ActionValues` are evaluated."""
NUM_PATHS = 48
"""Stochastic episodes that are drawn."""
STATES_M = ((-2.5, 0.0), (0.0, 0.0), (2.5, 2.5), (-2.5, -2.5))
"""Positions whose actions are shown; those of Softlearning's example."""
NUM_ACTIONS = 100
"""Actions of the policy that are drawn for each of them."""


class ActionValues(NamedTuple):
    """The critics' values of actions in one state of MultiGoal, and actions of the policy there."""

    position: tuple[float, float]
    """In metres."""
    values: FloatArray
    """In task units of reward. Shape (GRID, GRID): rows by the second entry of the action, lowest first."""
    actions: FloatArray
    """Of the policy with noise, in [-1, 1]. Shape (NUM_ACTIONS, 2)."""


class Plane(NamedTuple):
    """Contents of the figure of MultiGoal."""

    paths: Sequence[FloatArray]
    """Positions of each episode, its start first, in metres. Shape (steps + 1, 2)."""
    states: Sequence[ActionValues] | None
    """None where this machine has no critics of the run."""


def read_plane(params_path: Path, policy_file: Path, work_folder: Path | None) -> Plane:
    """Run the policy, and evaluate the critics of the run's checkpoint if it is on this machine.

    Args:
        params_path: params.yaml, whose task is MultiGoal.
        policy_file: The trained policy.
        work_folder: Of the run, named by its stage key; None where it is not known.

    Raises:
        CheckpointError: the policy file is damaged, or the checkpoint is of another program.
        ConfigError: params.yaml is wrong.
    """
    params = Params.load(params_path)
    environment = params.task.make()
    network = read_policy(policy_file).network
    paths = sample_paths(network.act, environment, NUM_PATHS, params.seed)
    learner = None if work_folder is None else _trained(params, environment.spec, work_folder)
    environment.close()
    return Plane(paths, None if learner is None else action_values(learner, environment.spec, params.seed))


def sample_paths(
    act: Callable[[Observation, np.random.Generator | None], FloatArray],
    environment: Environment,
    count: int,
    seed: int,
) -> list[FloatArray]:
    """Run stochastic episodes, and return the positions of each.

    Args:
        act: Of a policy: an observation and the generator of its noise to an action in [-1, 1].
        environment: MultiGoal.
        count: Number of episodes.
        seed: Of their starts and of the noise.
    """
    noise, paths = generator(seed, "report/plane noise"), []
    for index in range(count):
        observation = environment.reset(episode_seed(seed, "report/plane", index))
        positions, has_ended = [observation["position"].copy()], False
        while not has_ended:
            step = environment.step(act(observation, noise))
            observation, has_ended = step.observation, step.terminated or step.truncated
            positions.append(observation["position"].copy())
        paths.append(np.array(positions))
    return paths


def action_values(learner: ActorCritic, spec: EnvSpec, seed: int) -> list[ActionValues]:
    """Evaluate a learner's critics on a grid of actions, and draw actions of its policy, in `STATES_M`."""
    noise = generator(seed, "report/plane actions")
    grid = np.linspace(-1.0, 1.0, GRID, dtype=np.float32)
    found = []
    for position in STATES_M:
        state = spec.layout.pack({"position": np.array(position, dtype=np.float32)})
        values = np.array([[learner.value(state, np.array((x, y))) for x in grid] for y in grid])
        actions = np.array([learner.actor.act(state, noise) for _ in range(NUM_ACTIONS)])
        found.append(ActionValues(position, values, actions))
    return found


def _trained(params: Params, spec: EnvSpec, work_folder: Path) -> ActorCritic | None:
    """Return the learner of the last checkpoint; None where there is none, or it has no such critics."""
    learner = params.algorithm.build(spec, params.seed)
    if not isinstance(learner, ActorCritic):
        return None
    for checkpoint in intact_checkpoints(work_folder / "checkpoints", work_folder.name):
        try:
            learner.load_state(part_of(checkpoint.arrays, LEARNER_PREFIX))
        except CheckpointError:  # params.yaml was edited since; the page has a warning that says so
            return None
        return learner
    return None
