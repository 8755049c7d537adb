"""policy.safetensors: same policy, same bytes; a damaged one is refused."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save

from sacpipe.core.errors import CheckpointError
from sacpipe.networks.policy_file import Policy, PolicyHeader, build_actor, read_policy, write_policy

SPEC = {
    "task": "point_mass/point-mass-v0",
    "observation": [{"name": "position", "size": 2, "unit": "m", "source": "state"}],
    "action": [{"name": "force", "unit": "N", "low": -1.0, "high": 1.0}],
    "control_period_s": 0.1,
    "max_episode_steps": 50,
}


def make_policy(*, normalised=True):
    header = PolicyHeader.parse(
        {
            "format_version": 1,
            "kind": "squashed_gaussian",
            "algorithm": "sac",
            "hidden_dims": [4],
            "log_std_bounds": [-20.0, 2.0],
            "normalised": normalised,
            "spec": SPEC,
        }
    )
    actor = build_actor(header)
    actor.network.reset(torch.Generator().manual_seed(3))
    return Policy(actor, header)


@pytest.mark.parametrize("normalised", [False, True])
def test_comes_back_whole(tmp_path, normalised):
    policy = make_policy(normalised=normalised)
    write_policy(tmp_path / "policy.safetensors", policy)
    found = read_policy(tmp_path / "policy.safetensors")
    assert found.header == policy.header
    for name, tensor in policy.actor.state_dict().items():
        assert torch.equal(found.actor.state_dict()[name], tensor)


def test_same_policy_same_bytes_under_any_name(tmp_path):
    policy = make_policy()
    digests = set()
    for name in ("a.safetensors", "some/where/else.safetensors"):
        write_policy(tmp_path / name, policy)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_missing_torn_foreign_and_newer_files_are_refused(tmp_path):
    policy = make_policy()
    path = tmp_path / "policy.safetensors"
    with pytest.raises(CheckpointError, match="is missing"):
        read_policy(path)
    write_policy(path, policy)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_policy(path)
    path.write_bytes(save({"weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="is not a sacpipe policy"):
        read_policy(path)
    newer = policy.header.as_tree() | {"format_version": 2}
    path.write_bytes(save(policy.actor.state_dict(), metadata={"sacpipe": json.dumps(newer)}))
    with pytest.raises(CheckpointError, match="format 2; this program reads 1"):
        read_policy(path)


def test_a_parameter_that_is_not_finite_is_refused(tmp_path):
    policy = make_policy()
    with torch.no_grad():
        policy.actor.network.layers[0].weight[0, 0, 0] = float("nan")
    write_policy(tmp_path / "p.safetensors", policy)
    with pytest.raises(CheckpointError, match="not finite"):
        read_policy(tmp_path / "p.safetensors")
