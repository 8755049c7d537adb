"""Algorithms whose learners have parts of earlier runs: named by digest, found in the folder, kept in files."""

import shutil

import numpy as np
import pytest
from small_run import PARAMS, Onlooker, make_params, run_once

from sacpipe.algorithms import ALGORITHMS
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.networks.policy_file import read_policy, write_policy
from sacpipe.training.loop import train
from sacpipe.training.outputs import publish
from sacpipe.training.resume import open_run

AUTOGRAD = {"name": "autograd", "num_threads": 1}
SHORT = PARAMS["training"] | {"total_steps": 60}


def example(name, **changes):
    return ALGORITHMS.find(name).example().as_tree() | changes


def earlier_run(root, number, algorithm):
    """Run once; put the policy and the last checkpoint into folders of `weights`."""
    run_once(root / f"run-{number}", make_params(algorithm=algorithm, engine=AUTOGRAD, training=SHORT))
    folder = root / "weights" / f"part-{number}"
    shutil.copytree(sorted((root / f"run-{number}" / "work" / "checkpoints").iterdir())[-1], folder)
    shutil.copy(root / f"run-{number}" / "out" / "policy.safetensors", folder)
    return folder


def trained(root, algorithm, folder):
    params = make_params(algorithm=algorithm, engine=AUTOGRAD, training=SHORT)
    run = open_run(params, root / "work", "upper", warm_start=folder)
    try:
        train(run, lambda: False, Onlooker())
        publish(run, root / "out")
        return run.learner.state()
    finally:
        run.close()


@pytest.mark.slow
def test_an_upper_level_is_trained_on_the_policy_of_a_run(tmp_path):
    lower = earlier_run(tmp_path, 0, example("lsp"))
    digest = sha256_file(lower / "policy.safetensors")
    trained(tmp_path, example("lsp", lower={"sha256": digest}), tmp_path / "weights")
    policy, below = (
        read_policy(path)[0]
        for path in (tmp_path / "out" / "policy.safetensors", lower / "policy.safetensors")
    )
    for name, tensor in below.state_dict().items():
        np.testing.assert_array_equal(policy.lower.state_dict()[name], tensor)


@pytest.mark.slow
def test_two_runs_are_composed_by_their_checkpoints(tmp_path):
    parts = [earlier_run(tmp_path, number, example("sac")) for number in range(2)]
    named = [{"sha256": sha256_file(part / "state.json"), "weight": 0.5} for part in parts]
    state = trained(tmp_path, example("composition", parts=named), tmp_path / "weights")
    name = "critic/network.head.weight"
    assert state[name].shape[0] == 4


@pytest.mark.parametrize("algorithm", [example("lsp", lower={"sha256": "0" * 64}), example("composition")])
def test_weights_that_are_missing_are_named_before_the_first_step(tmp_path, algorithm):
    params = make_params(algorithm=algorithm, engine=AUTOGRAD)
    with pytest.raises(ConfigError, match=r"algorithm\.(lower|parts\.0)\.sha256: expected policy") as caught:
        open_run(params, tmp_path / "work", "k", warm_start=tmp_path)
    assert "training.warm_start" not in str(caught.value)  # another key, which would not help
    with pytest.raises(ConfigError, match=r"no folder was passed"):
        open_run(params, tmp_path / "work", "k")


def test_the_lower_level_is_the_one_that_its_key_names_also_in_a_warm_start(tmp_path):
    """A policy of two levels has a lower one too: the run begins with its upper level alone."""
    spec = make_params().task.make().spec
    policies = [
        ALGORITHMS.find("lsp").example().replace(lower=lower).build(spec, seed).policy()
        for seed, lower in enumerate([None, {"sha256": "1" * 64}])
    ]
    digests = []
    for number, policy in enumerate(policies):
        path = tmp_path / "weights" / str(number) / "policy.safetensors"
        path.parent.mkdir(parents=True)
        write_policy(path, policy)
        digests.append(sha256_file(path))
    lower, both = (policy.network.state_dict() for policy in policies)
    start = {"sha256": digests[1], "parts": "policy", "first_actions": "policy"}
    algorithm = example("lsp", lower={"sha256": digests[0]})
    params = make_params(algorithm=algorithm, engine=AUTOGRAD, training=SHORT | {"warm_start": start})
    run = open_run(params, tmp_path / "work", "k", warm_start=tmp_path / "weights")
    found = run.learner.policy().network.state_dict()
    run.close()
    for name, tensor in lower.items():
        np.testing.assert_array_equal(found[f"lower.{name}"], tensor, err_msg=name)
    name = "network.head.weight"
    np.testing.assert_array_equal(found[name], both[name])
