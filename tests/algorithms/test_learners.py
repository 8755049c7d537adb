"""The contract test accepts our algorithms, and finds each broken rule."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch

from sacpipe.algorithms import ALGORITHMS
from sacpipe.algorithms.sac import SAC, SACConfig
from sacpipe.algorithms.td3 import TD3Config
from sacpipe.core.errors import CheckpointError, ConfigError, ContractError
from sacpipe.testing.learner_tasks import learner_tasks
from sacpipe.testing.learners import check_learner

CONV = {"name": "conv", "channels": [4, 4], "hidden_dims": [8]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS.ours)
def test_every_algorithm_keeps_the_contract(name):
    check_learner(ALGORITHMS.find(name).example())


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS.ours)
def test_every_algorithm_keeps_it_with_layer_normalisation(name):
    network = {"name": "layer_norm_mlp", "hidden_dims": [8, 8]}
    check_learner(ALGORITHMS.find(name).example().replace(network=network))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS.ours)
def test_every_algorithm_keeps_it_with_images(name):
    check_learner(ALGORITHMS.find(name).example().replace(network=CONV))


@pytest.mark.slow
def test_the_normalisation_of_some_terms_keeps_it():
    class OneTerm(SACConfig):
        def build(self, spec, seed):
            if "mass" not in spec.layout.shapes:
                raise ConfigError("no mass")
            return SAC(self, spec, seed)

    check_learner(
        OneTerm.parse(SACConfig.example().as_tree() | {"normalise_observations": ["mass", "state"]})
    )


def broken(**methods):
    class Broken(SACConfig):
        def build(self, spec, seed):
            return type("Broken", (SAC,), methods)(self, spec, seed)

    return Broken.parse(SACConfig.example().as_tree())


def act_out_of_range(self, observation, generator):
    return 3.0 * SAC.act(self, observation, generator)


def act_as_float64(self, observation, generator):
    return SAC.act(self, observation, generator).astype(np.float64)


def act_at_random(self, observation, generator):
    return SAC.act(self, observation, np.random.default_rng())


def update_without_count(self, batch):
    SAC.update(self, batch)
    self.gradient_steps -= 1


def update_the_batch(self, batch):
    SAC.update(self, batch)
    batch.rewards[0] = 0.0


def state_without_noise(self):
    state = SAC.state(self)
    state["noise"] = np.zeros_like(state["noise"])
    return state


def state_as_views(self):
    state = SAC.state(self)
    return state | {"log_temperature": self.log_temperature.detach().numpy()}


def load_anything(self, state):
    with contextlib.suppress(CheckpointError):
        SAC.load_state(self, state)


def secret_diagnostics(self):
    return SAC.diagnostics(self) | {"critic/secret": 1.0}


def nan_diagnostics(self):
    return SAC.diagnostics(self) | {"critic/loss": float("nan")}


def see_all(self, observation, generator):
    return SAC.act(self, observation, generator) * np.float32(
        1.0 / (1.0 + abs(float(observation.vector[-1])))
    )


KEPT = np.zeros(2, dtype=np.float32)


def act_in_one_memory(self, observation, generator):
    KEPT[...] = SAC.act(self, observation, np.random.default_rng())
    return KEPT


def update_and_remember(self, batch):
    SAC.update(self, batch)
    if self.gradient_steps % 2 == 0:
        self.remembered = {"actor/loss": SAC.diagnostics(self)["actor/loss"]}


def remembered_diagnostics(self):
    """Tell of an update before the last, which the state does not have."""
    return SAC.diagnostics(self) | getattr(self, "remembered", {})


def update_contiguous_arrays(self, batch):
    torch.from_numpy(batch.actions).view(-1)
    SAC.update(self, batch)


def learn_nan(self, batch):
    batch.rewards[np.isnan(batch.rewards)] = 0.0
    SAC.update(self, batch)


def update_without_weights(self, batch):
    SAC.update(self, dataclasses.replace(batch, weights=None))


def halved_by_weights(self, batch):
    half = None if batch.weights is None else batch.weights * np.float32(0.5) * batch.rewards**2
    SAC.update(self, dataclasses.replace(batch, weights=half))


def explore_and_remember(self, observation, generator):
    """Tell actions of one episode apart by what the state does not have."""
    self.explored = getattr(self, "explored", 0) + 1
    return SAC.act(self, observation, generator) / np.float32(self.explored)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"explore": explore_and_remember}, "end_episode: expected it beside `explore`, found none"),
        (
            {"explore": explore_and_remember, "end_episode": lambda self: None},
            "load_state: expected the training actions of a learner that went on",
        ),
        (
            {"explore": act_out_of_range, "end_episode": lambda self: None},
            r"explore: expected actions in \[-1, 1\]",
        ),
        ({"act": act_out_of_range}, r"act: expected actions in \[-1, 1\]"),
        ({"act": act_as_float64}, "act: expected ndarray float32"),
        ({"act": act_at_random}, "act: expected the same action without a generator"),
        ({"act": act_in_one_memory}, "act: expected the same action without a generator"),
        (
            {"update": update_and_remember, "diagnostics": remembered_diagnostics},
            "diagnostics: expected those of a learner that went on",
        ),
        ({"act": see_all}, "policy: expected the action of `act` from the policy's terms alone"),
        ({"update": update_without_count}, "gradient_steps: expected 2, found 0"),
        ({"update": update_the_batch}, "update: expected the batch unchanged, found other rewards"),
        ({"update": learn_nan}, "update: expected a DivergenceError"),
        ({"state": state_without_noise}, "load_state: expected the state of a learner that went on"),
        ({"state": state_as_views}, "expected .* found another 'log_temperature'"),
        ({"load_state": load_anything}, "load_state: expected a CheckpointError for a missing array"),
        (
            {"diagnostics": secret_diagnostics},
            "diagnostics: expected names of metrics.., found 'critic/secret'",
        ),
        ({"diagnostics": nan_diagnostics}, "diagnostics: expected finite floats, found nan of 'critic/loss'"),
        ({"update": update_without_weights}, "update: expected other parameters for uneven weights"),
        ({"update": halved_by_weights}, "update: expected the same parameters for weights of 1"),
        (
            {"td_errors": lambda self: -SAC.td_errors(self)},
            "td_errors: expected finite numbers of at least 0",
        ),
        ({"td_errors": lambda self: SAC.td_errors(self)[1:]}, r"td_errors: expected float32 \(16,\), found"),
        ({"td_errors": lambda self: np.zeros(16, np.float32)}, "td_errors: expected a ValueError before"),
        ({"diagnostics": lambda self: {}}, "diagnostics: expected a ValueError before the first update"),
    ],
)
def test_a_broken_rule_is_found(methods, message):
    with pytest.raises(ContractError, match=message):
        check_learner(broken(**methods))


@pytest.mark.parametrize("name", ALGORITHMS.ours)
def test_a_trunk_by_import_path_is_refused_by_its_key_in_params(name):
    tree = ALGORITHMS.find(name).example().as_tree()
    tree["network"] = {"name": "my_robot.trunks:Mine"}
    with pytest.raises(ConfigError, match=r"algorithm\.network\.name: expected a registered trunk"):
        ALGORITHMS.find(name).parse(tree, where="algorithm")


def test_an_update_that_cannot_take_the_samplers_views_fails():
    with pytest.raises(RuntimeError, match="view"):
        check_learner(broken(update=update_contiguous_arrays))


def test_a_policy_sees_an_image_and_the_critics_do_not():
    config = TD3Config.example().replace(network=CONV)
    spec = learner_tasks()["an image for the policy only and a term for critics only"]
    learner = config.build(spec, 0)
    assert learner.critic.network.trunk.mlp.layers[0].weight.shape[1] == 2 + spec.action_dim
    with pytest.raises(ConfigError, match=r"algorithm\.network\.name: 'conv' needs an image"):
        config.build(learner_tasks()["one vector"], 0)


@pytest.mark.slow
def test_td_errors_are_an_option():
    check_learner(broken(td_errors=None))


def test_an_algorithm_that_refuses_every_task_is_no_member():
    class Shy(TD3Config):
        def build(self, spec, seed):
            raise ConfigError("not this one")

    with pytest.raises(ConfigError, match="not this one"):
        check_learner(Shy.parse(TD3Config.example().as_tree()))
