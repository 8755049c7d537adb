"""A run that begins with the weights of another: which ones, and what is refused before its first step."""

import shutil

import numpy as np
import pytest
import torch
from folder_digest import sha256_tree
from small_run import KEY, PARAMS, Killer, KillError, Onlooker, make_params, run_once

from sacpipe.algorithms import ALGORITHMS
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.networks.policy_file import read_policy
from sacpipe.training.loop import train
from sacpipe.training.outputs import publish
from sacpipe.training.resume import open_run

AUTOGRAD = {"name": "autograd", "num_threads": 1}
ALGORITHM = {name: ALGORITHMS.find(name).example().as_tree() for name in ("sac", "td3", "tqc")}


def params_with(folder, parts="policy", first_actions="policy", **changes):
    name = "policy.safetensors" if (folder / "policy.safetensors").is_file() else "state.json"
    start = {"sha256": sha256_file(folder / name), "parts": parts, "first_actions": first_actions}
    return make_params(seed=5, training=PARAMS["training"] | {"warm_start": start}, **changes)


def begun(tmp_path, folder, params=None, **changes):
    params = params or params_with(folder, **changes)
    return open_run(params, tmp_path / "begun", "another", warm_start=folder)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Two folders: the policy of a finished run, and its last checkpoint."""
    root = tmp_path_factory.mktemp("earlier")
    run_once(root)
    policy, checkpoint = root / "policy", root / "checkpoint"
    policy.mkdir()
    shutil.copy(root / "out" / "policy.safetensors", policy)
    shutil.copytree(sorted((root / "work" / "checkpoints").iterdir())[-1], checkpoint)
    return {"policy": policy, "checkpoint": checkpoint, "work": root / "work"}


def learner_state(run):
    state = run.learner.state()
    run.close()
    return state


@pytest.mark.parametrize("source", ["policy", "checkpoint"])
@pytest.mark.parametrize("engine", [AUTOGRAD, PARAMS["engine"]], ids=["autograd", "default"])
def test_a_policy_is_taken_and_the_rest_is_new(tmp_path, earlier, source, engine):
    state = learner_state(begun(tmp_path, earlier[source], engine=engine))
    own = learner_state(open_run(make_params(seed=5, engine=engine), tmp_path / "own", "own"))
    policy = read_policy(earlier["policy"] / "policy.safetensors").network.state_dict()
    assert {f"actor/{name}" for name in policy} == {name for name in state if name.startswith("actor/")}
    for name, array in state.items():
        if name.startswith("actor/"):
            np.testing.assert_array_equal(array, policy[name.removeprefix("actor/")])
        else:
            np.testing.assert_array_equal(array, own[name], err_msg=name)


def test_all_of_a_checkpoint_is_all_but_optimisers_noise_and_counter(tmp_path, earlier):
    state = learner_state(begun(tmp_path, earlier["checkpoint"], parts="all"))
    finished = learner_state(open_run(make_params(), earlier["work"], "k"))
    own = learner_state(open_run(make_params(seed=5), tmp_path / "own", "own"))
    for name, array in state.items():
        is_new = name.startswith("adam/") or name in ("noise", "gradient_steps")
        np.testing.assert_array_equal(array, (own if is_new else finished)[name], err_msg=name)
    assert not np.array_equal(state["log_temperature"], own["log_temperature"])


def test_a_fixed_temperature_stays_that_of_the_params(tmp_path, earlier):
    fixed = {"temperature": {"mode": "fixed", "value": 0.25}}
    params = params_with(earlier["checkpoint"], parts="all", algorithm=PARAMS["algorithm"] | fixed)
    state = learner_state(begun(tmp_path, earlier["checkpoint"], params))
    assert np.exp(state["log_temperature"]) == pytest.approx(0.25)


def test_the_slow_copy_of_a_policy_alone_is_the_policy():
    spec = make_params().task.make().spec
    config = ALGORITHMS.find("td3").example()
    first, second = config.build(spec, 1), config.build(spec, 2)
    second.begin_with({name: array for name, array in first.state().items() if name.startswith("actor/")})
    pairs = zip(second.target_actor.parameters(), first.actor.network.parameters(), strict=True)
    assert all(torch.equal(slow, own) for slow, own in pairs)


def test_the_first_actions_are_the_policys_or_random(tmp_path, earlier):
    folder, actions = earlier["policy"], {}
    for kind in ("policy", "random"):
        run = open_run(params_with(folder, first_actions=kind), tmp_path / kind, "another", warm_start=folder)
        (environment,) = run.environments
        run.act()
        actions[kind] = environment.action
        if kind == "policy":
            environment.exploration_stream = np.random.default_rng(0)
            expected = run.learner.act(environment.observation, np.random.default_rng(0))
            run.act()
            np.testing.assert_array_equal(environment.action, expected)
        run.close()
    own = open_run(make_params(seed=5), tmp_path / "own", "own")
    own.act()
    np.testing.assert_array_equal(actions["random"], own.environments[0].action)
    assert not np.array_equal(actions["policy"], actions["random"])
    own.close()


def run_with(tmp_path, folder, onlooker, out):
    run = open_run(params_with(folder, parts="all"), tmp_path / out, KEY, warm_start=folder)
    try:
        train(run, onlooker.should_stop, onlooker)
        return publish(run, tmp_path / f"{out}-out")
    finally:
        run.close()


def test_killed_it_gives_the_bytes_of_uninterrupted(tmp_path, earlier):
    run_with(tmp_path, earlier["checkpoint"], Onlooker(), "whole")
    with pytest.raises(KillError):
        run_with(tmp_path, earlier["checkpoint"], Killer(), "cut")
    run_with(tmp_path, earlier["checkpoint"], Onlooker(), "cut")
    assert sha256_tree(tmp_path / "cut-out") == sha256_tree(tmp_path / "whole-out")


def test_a_policy_file_serves_another_algorithm_of_the_same_kind(tmp_path, earlier):
    """SAC's policy in TQC, whose critics are others."""
    network = {"network": PARAMS["algorithm"]["network"], "normalise_observations": True}
    params = params_with(earlier["policy"], algorithm=ALGORITHM["tqc"] | network, engine=AUTOGRAD)
    state = learner_state(begun(tmp_path, earlier["policy"], params))
    policy = read_policy(earlier["policy"] / "policy.safetensors").network.state_dict()
    name = "network.head.weight"
    np.testing.assert_array_equal(state[f"actor/{name}"], policy[name])


NETWORK = {"name": "mlp", "hidden_dims": [8, 9]}
SAME = {"network": PARAMS["algorithm"]["network"], "normalise_observations": True}


@pytest.mark.parametrize(
    ("source", "parts", "changes", "message"),
    [
        ("policy", "policy", {"task__options": {"image_size": 8}}, r"in the task: observation"),
        (
            "policy",
            "policy",
            {"algorithm": PARAMS["algorithm"] | {"network": NETWORK}},
            r"in the policy's network: trunk\.hidden_dims\.1: expected 9, found 8",
        ),
        (
            "policy",
            "policy",
            {"algorithm": ALGORITHM["td3"] | SAME, "engine": AUTOGRAD},
            "in the policy kind: expected deterministic, found squashed_gaussian",
        ),
        ("policy", "all", {}, r"training\.warm_start\.parts: policy\.safetensors has the policy alone"),
        (
            "checkpoint",
            "all",
            {"algorithm": ALGORITHM["tqc"] | SAME, "engine": AUTOGRAD},
            "in the algorithm: expected tqc, found sac",
        ),
        (
            "checkpoint",
            "all",
            {"algorithm": PARAMS["algorithm"] | {"num_critics": 3}},
            r"training\.warm_start: learner state: critic/\S+ has shape \(2",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_the_first_step(
    tmp_path, earlier, source, parts, changes, message
):
    if "task__options" in changes:
        changes["algorithm__network"] = {"name": "conv", "channels": [2], "hidden_dims": [8]}
        changes["engine"] = AUTOGRAD
    with pytest.raises(ConfigError, match=message):
        begun(tmp_path, earlier[source], parts=parts, **changes)
    assert not (tmp_path / "begun").exists()


def test_missing_other_and_damaged_weights_are_refused(tmp_path, earlier):
    folder = tmp_path / "weights"
    shutil.copytree(earlier["checkpoint"], folder)
    params = params_with(folder, parts="all")
    (folder / "arrays.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"training\.warm_start: .*arrays\.safetensors differs"):
        begun(tmp_path, folder, params)
    (folder / "state.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"training\.warm_start\.sha256: expected .* state\.json 44136fa3"):
        begun(tmp_path, folder, params)
    shutil.rmtree(folder)
    with pytest.raises(ConfigError, match=r"training\.warm_start: expected policy\.safetensors, or state"):
        begun(tmp_path, folder, params)


def test_a_learner_without_the_method_is_refused_by_name(tmp_path, earlier, monkeypatch):
    monkeypatch.delattr("sacpipe.algorithms.soft_actor_critic.SoftActorCritic.begin_with")
    monkeypatch.delattr("sacpipe.algorithms.actor_critic.ActorCritic.begin_with")
    with pytest.raises(ConfigError, match="the algorithm 'sac' cannot begin with other weights"):
        begun(tmp_path, earlier["policy"])
