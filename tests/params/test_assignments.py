"""Values of a command line go before those of presets, and complete what they leave out."""

import pytest
from ruamel.yaml import YAML

from sacpipe.core.errors import ConfigError
from sacpipe.params.assignments import parse_assignments
from sacpipe.params.defaults import params_text
from sacpipe.params.model import Params

POINT_MASS = "point_mass/point-mass-v0"
DIGEST = "ab" * 32


def printed(*assignments, task=POINT_MASS, **arguments):
    """Return the tree of a new params.yaml, which its models accept."""
    tree = YAML(typ="safe").load(params_text(task, assignments=assignments, **arguments))
    assert Params.parse(tree).as_tree() == tree
    return tree


def test_keys_are_paths_and_values_are_yaml():
    texts = ["seed=3", "a.b=[1, 2.5]", "a.c={d: null}", "a.e.f=x=y", "a.e.g="]
    expected = {"b": [1, 2.5], "c": {"d": None}, "e": {"f": "x=y", "g": None}}
    assert parse_assignments(texts) == {"seed": 3, "a": expected}


def test_another_member_of_a_table_brings_its_own_values():
    assert printed("replay.sampler.name=n_step")["replay"]["sampler"] == {"name": "n_step", "num_steps": 3}
    chosen = printed("replay.sampler={name: n_step, num_steps: 5}")["replay"]["sampler"]
    assert chosen == {"name": "n_step", "num_steps": 5}


def test_another_mode_of_a_section_brings_its_own_values():
    fixed = printed("algorithm.temperature={mode: fixed, value: 0.2}")["algorithm"]["temperature"]
    assert fixed == {"mode": "fixed", "value": 0.2}


def test_a_key_of_a_section_leaves_the_others():
    before, after = printed(), printed("training.batch_size=32", "algorithm.temperature.initial=0.5")
    assert after["training"] == before["training"] | {"batch_size": 32}
    assert after["algorithm"]["temperature"] == before["algorithm"]["temperature"] | {"initial": 0.5}
    assert after["engine"] == before["engine"]


def test_an_engine_that_is_given_is_kept_and_completed():
    assert printed("engine.name=autograd")["engine"]["name"] == "autograd"
    assert printed("engine.precision=bfloat16")["engine"] == {"name": "native", "precision": "bfloat16"}


def test_options_of_the_task_decide_its_time_limit_and_join_tuned_ones():
    assert printed("task.options.max_episode_steps=7", task="gymnasium/Pendulum-v1")["task"] == {
        "suite": "gymnasium",
        "id": "Pendulum-v1",
        "options": {"max_episode_steps": 7},
        "metrics": [],
    }
    car = printed("task.options.max_episode_steps=80", task="gymnasium/MountainCarContinuous-v0")
    assert car["task"]["options"] == {"action_repeat": 8, "max_episode_steps": 80}
    assert printed("task.metrics=[]")["task"]["metrics"] == []


def test_a_warm_start_needs_a_digest_alone():
    expected = {"sha256": DIGEST, "parts": "policy", "first_actions": "policy"}
    assert printed(f"training.warm_start.sha256={DIGEST}")["training"]["warm_start"] == expected


def test_the_file_says_how_it_was_made():
    text = params_text(POINT_MASS, assignments=["seed=2", "task.metrics=[]"])
    assert f"`sacpipe params {POINT_MASS} --set seed=2 --set 'task.metrics=[]'`" in text


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["seed"], "--set: expected KEY=VALUE, as training.batch_size=128, found 'seed'"),
        (["=3"], "--set: expected KEY=VALUE"),
        (["training..x=3"], "--set: expected KEY=VALUE"),
        (["task.options={a"], r"--set task\.options: '\{a' is not valid YAML"),
        (["seed=1", "seed=2"], "--set seed: given twice"),
        (["replay={}", "replay.capacity=3"], None),
        (["replay=3", "replay.capacity=3"], r"--set replay\.capacity: .*inside a value that is given"),
        (["algorithm.name=td3"], r"--set algorithm\.name: its place is the argument --algorithm"),
        (["training.total_steps=9"], "its place is the argument --steps"),
        (["task=3"], r"--set task: expected keys of the section, as task\.KEY=VALUE"),
        (["traning.batch_size=3"], "--set: traning: unknown key; expected one of training"),
        (["algorithm.taau=3"], r"--set: algorithm\.taau: unknown key; expected one of tau"),
        (["training.batch_size=many"], r"--set: training\.batch_size: .*found 'many'"),
        (["replay.sampler.name=nstep"], "sampler 'nstep': expected one of n_step"),
        (["training.warm_start.parts=all"], "has no value for the key 'sha256'"),
    ],
)
def test_what_cannot_be_a_value_is_refused(assignments, message):
    if message is None:
        assert printed(*assignments)["replay"]["capacity"] == 3
        return
    with pytest.raises(ConfigError, match=message):
        printed(*assignments)
