"""Where SAC fails with its presets, a new params.yaml has values that are known to learn the task."""

import pytest
from ruamel.yaml import YAML

from sacpipe.params.budgets import BUDGETS, budget_of
from sacpipe.params.defaults import params_text


def printed(name, **arguments):
    text = params_text(name, **arguments)
    return text, YAML(typ="safe").load(text)


def test_tuned_values_are_in_the_printed_file_and_named_in_its_header():
    text, tree = printed("gymnasium/Swimmer-v5")
    assert tree["algorithm"]["discount"] == 0.9999
    assert "tuned for this task" in text.partition("\nseed:")[0]
    assert tree["engine"]["name"] == "native"
    text, tree = printed("gymnasium/Swimmer-v5", algorithm="td3")
    assert tree["algorithm"]["discount"] == 0.99
    assert "tuned" not in text.partition("\nseed:")[0]


def test_the_mountain_car_repeats_each_action():
    _, tree = printed("gymnasium/MountainCarContinuous-v0")
    assert tree["task"]["options"] == {"action_repeat": 8}
    assert tree["algorithm"]["network"] == {"name": "mlp", "hidden_dims": [64, 64]}
    assert tree["training"]["total_steps"] == 12_500


def test_robosuite_has_the_options_of_its_benchmark():
    assert budget_of("robosuite/Lift").tuned == {
        "task": {"options": {"reward_shaping": True, "horizon": 500, "hard_reset": False}}
    }
    assert budget_of("robosuite/ToolHang").tuned == {
        "task": {"options": {"horizon": 500, "hard_reset": False}}
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "discount", "hidden_dims", "rate"),
    [
        ("gymnasium/BipedalWalker-v3", 0.98, [400, 300], 7.3e-4),
        ("gymnasium/LunarLanderContinuous-v3", 0.99, [400, 300], 7.3e-4),
        ("gymnasium_robotics/FetchReach-v4", 0.95, [64, 64], 1e-3),
        ("gymnasium_robotics/FetchPushDense-v4", 0.95, [256, 256], 1e-3),
    ],
)
def test_values_of_the_zoo(name, discount, hidden_dims, rate):
    """rl-baselines3-zoo, hyperparams/sac.yml and tqc.yml."""
    _, tree = printed(name)
    algorithm = tree["algorithm"]
    assert (algorithm["discount"], algorithm["network"]["hidden_dims"]) == (discount, hidden_dims)
    assert algorithm["actor_learning_rate"] == algorithm["temperature"]["learning_rate"] == rate


def test_a_family_is_named_before_one_that_begins_like_it():
    patterns = [pattern for pattern, _ in BUDGETS]
    assert budget_of("gymnasium/BipedalWalkerHardcore-v3").total_steps == 10_000_000
    assert budget_of("gymnasium_robotics/FetchReachDense-v4").hidden_dim == 64
    assert len(set(patterns)) == len(patterns)
