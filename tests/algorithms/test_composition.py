"""The sum of Q-functions: by hand, from the states of other learners, and on points with a shared goal."""

import numpy as np
import pytest
import torch
from factories import make_algorithm
from learning import SPEC, make_batch, make_learner, make_spec, states_equal

from sacpipe.algorithms.base import Weights
from sacpipe.core.errors import ConfigError
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch

PARTS = [{"sha256": "a" * 64, "weight": 0.5}, {"sha256": "b" * 64, "weight": 2.0}]
KEYS = ("algorithm.parts.0.sha256", "algorithm.parts.1.sha256")

PLANE = make_spec(2, [(-1.0, 1.0)] * 2)
SHARED = (4.0, 0.0)
GOALS = (np.array([SHARED, (-4.0, 0.0)]), np.array([SHARED, (0.0, 4.0)]))
"""Of each task, in metres; an action is a displacement of at most 1 m each way."""


def weights_of(learner):
    return Weights(learner.policy().header, learner.state(), is_whole=True)


def test_the_value_is_the_weighted_sum_of_each_parts_lowest_critic():
    """Critics of 3 and -2, and of 1 and 4: 0.5 x -2 + 2 x 1 = 1."""
    learner, biases = make_learner("composition", parts=PARTS), ([3.0, -2.0], [1.0, 4.0])
    for key, bias in zip(KEYS, biases, strict=True):
        part = make_learner("sac")
        with torch.no_grad():
            for parameter in part.critic.parameters():
                parameter.zero_()
            part.critic.network.head.bias[:] = torch.tensor(bias)[:, None, None]
        learner.take_weights(key, weights_of(part))
    observation = Observation(SPEC.layout, np.ones(3, dtype=np.float32), {})
    assert learner.value(observation, np.zeros(2, dtype=np.float32)) == pytest.approx(1.0)


def test_each_part_has_the_values_of_its_run():
    parts = [make_learner("sac", seed=1), make_learner("sql", seed=2)]
    learner, batch = make_learner("composition", parts=PARTS), make_batch()
    for key, part in zip(KEYS, parts, strict=True):
        learner.take_weights(key, weights_of(part))
    inputs, actions = learner.critic_inputs.of(batch.observations), torch.from_numpy(batch.actions)
    with torch.no_grad():
        first, second = (part.critic(inputs, actions).amin(dim=0) for part in parts)
        found = learner.critic(inputs, actions)
    torch.testing.assert_close(found, (0.5 * first + 2.0 * second)[None])


def test_updates_leave_the_critics_as_they_are_and_move_the_policy():
    learner = make_learner("composition", parts=PARTS)
    before = learner.state()
    for seed in range(3):
        learner.update(make_batch(seed))
    after = learner.state()
    changed = {name.partition("/")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"actor", "adam", "noise", "gradient_steps"}
    assert not states_equal(learner, make_learner("composition", parts=PARTS))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": "td3", "network": {"name": "mlp", "hidden_dims": [9]}}, r"parts\.1.*expected a checkpoint"),
        ({"name": "sac", "num_critics": 3}, r"parts\.1.*expected a checkpoint"),
        ({"name": "sac", "normalise_observations": True}, r"parts\.1.*observations are normalised"),
        ({"name": "td3"}, r"parts\.1.*maximum-entropy algorithm, found 'td3', whose policy is deterministic"),
    ],
    ids=["network", "critics", "normalised", "deterministic"],
)
def test_a_part_of_another_shape_is_refused(part, message):
    learner, other = make_learner("composition", parts=PARTS), make_learner(**part)
    with pytest.raises(ConfigError, match=message):
        learner.take_weights(KEYS[1], weights_of(other))


def test_a_policy_file_has_no_critics():
    source = make_learner("sac")
    policy = {name: array for name, array in source.state().items() if name.startswith("actor/")}
    with pytest.raises(ConfigError, match="found none"):
        make_learner("composition", parts=PARTS).take_weights(
            KEYS[0], Weights(source.policy().header, policy, is_whole=False)
        )


def test_normalised_observations_are_refused():
    with pytest.raises(ConfigError, match="normalise_observations"):
        make_algorithm("composition", normalise_observations=True)


def distances(positions, goals):
    return np.sqrt(np.square(positions[:, None] - goals[None]).sum(axis=-1, dtype=np.float64))


def random_batch(random, goals, size=64):
    """Steps from anywhere in the plane: a reward of minus the distance to the nearest goal, which ends them."""
    before = random.uniform(-6.0, 6.0, (size, 2)).astype(np.float32)
    actions = random.uniform(-1.0, 1.0, (size, 2)).astype(np.float32)
    after = np.clip(before + actions, -6.0, 6.0)
    nearest = distances(after, goals).min(axis=1).astype(np.float32)
    discounts = np.where(nearest < 1.0, 0.0, 0.9).astype(np.float32)
    layout = PLANE.layout
    return Batch(
        Observation(layout, before, {}), actions, -nearest, Observation(layout, after, {}), discounts
    )


def shares_of_shared(learner, episodes=100, steps=60, seed=7):
    """Return the share of episodes from the middle that come to the shared goal, of the three."""
    random, goals = np.random.default_rng(seed), np.array([SHARED, (-4.0, 0.0), (0.0, 4.0)])
    positions = random.normal(0.0, 0.1, (episodes, 2)).astype(np.float32)
    reached = np.full(episodes, -1)
    for _ in range(steps):
        noise = random.standard_normal((episodes, learner.actor.noise_dim), dtype=np.float32)
        with torch.no_grad():
            actions = learner.actor(torch.from_numpy(positions), torch.from_numpy(noise)).numpy()
        positions = np.where(reached[:, None] < 0, np.clip(positions + actions, -6.0, 6.0), positions)
        found = distances(positions, goals)
        reached = np.where((reached < 0) & (found.min(axis=1) < 1.0), found.argmin(axis=1), reached)
    return float((reached == 0).mean())


SETTINGS = {
    "network": {"name": "mlp", "hidden_dims": [32, 32]},
    "num_particles": 16,
    "noise_dim": 2,
    "actor_learning_rate": 1e-3,
}


UPDATES = 500
"""Of the composed policy."""


def composed_shares(seed):
    """Learn both tasks and the mean of their Q-functions; return each one's share at the shared goal."""
    keys = {"critic_learning_rate": 1e-3, "num_value_actions": 16, "reward_scale": 2.0, "tau": 0.02}
    parts = []
    for number, goals in enumerate(GOALS, 2 * seed):
        part = make_algorithm("sql", discount=0.9, **SETTINGS, **keys).build(PLANE, number)
        random = np.random.default_rng(number)
        for _ in range(1000):
            part.update(random_batch(random, goals))
        parts.append(part)
    mean = [part | {"weight": 0.5} for part in PARTS]
    learner = make_algorithm("composition", parts=mean, **SETTINGS).build(PLANE, seed)
    for key, part in zip(KEYS, parts, strict=True):
        learner.take_weights(key, weights_of(part))
    random = np.random.default_rng(2 * seed + 2)
    for _ in range(UPDATES):
        learner.update(random_batch(random, GOALS[0]))
    return [shares_of_shared(one) for one in (*parts, learner)]


@pytest.mark.slow
def test_the_policy_of_the_mean_goes_to_the_shared_goal():
    """Each task alone has two goals that are as good; the mean of the Q-functions has the one they share."""
    *alone, share = composed_shares(0)
    assert max(alone) < 0.8
    assert share >= 0.9
