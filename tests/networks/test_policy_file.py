"""policy.safetensors: same policy, same bytes; a damaged one is refused."""

import hashlib
import json

import pytest
import torch
from bundle_factories import make_spec, term_tree
from safetensors.torch import save

from sacpipe.core.config import Config
from sacpipe.core.errors import CheckpointError, ConfigError
from sacpipe.networks import policy_file
from sacpipe.networks.policies import POLICY_KINDS
from sacpipe.networks.policy_file import Policy, encode_policy, read_policy, write_policy
from sacpipe.networks.trunks import TRUNKS, TrunkConfig

SPEC = make_spec(observation=[term_tree("position", 2), term_tree("mass", groups=["critic"])])

FLOW = {"num_couplings": 2, "coupling_dim": 4, "max_log_scale": 2.0}
OWN_KEYS = {
    "squashed_gaussian": {"log_std_bounds": [-20.0, 2.0]},
    "sampling_network": {"noise_dim": 2},
    "real_nvp": FLOW,
}


def make_policy(*, kind="squashed_gaussian", normalised=True, algorithm="sac", trunk=None):
    tree = {
        "trunk": trunk or {"name": "mlp", "hidden_dims": [4]},
        "normalised_terms": ["position"] if normalised else [],
    }
    if kind == "hierarchy":
        tree = {"upper": tree | FLOW, "lower": tree | FLOW}
    tree |= OWN_KEYS.get(kind, {})
    policy = policy_file.make_policy(POLICY_KINDS.find(kind).parse(tree), SPEC, algorithm)
    policy.network.reset(torch.Generator().manual_seed(3))
    return policy


@pytest.mark.parametrize("kind", POLICY_KINDS.ours)
@pytest.mark.parametrize("normalised", [False, True])
def test_comes_back_whole(tmp_path, kind, normalised):
    policy = make_policy(kind=kind, normalised=normalised)
    write_policy(tmp_path / "policy.safetensors", policy)
    found = read_policy(tmp_path / "policy.safetensors")
    assert found.header == policy.header
    for name, tensor in policy.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor)


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
    newer = policy.header.as_tree() | {"format_version": 3}
    path.write_bytes(save(policy.network.state_dict(), metadata={"sacpipe": json.dumps(newer)}))
    with pytest.raises(CheckpointError, match="format 3; this program reads 2"):
        read_policy(path)


def test_a_parameter_that_is_not_finite_is_refused(tmp_path):
    policy = make_policy()
    with torch.no_grad():
        policy.network.network.head.weight[0, 0, 0] = float("nan")
    write_policy(tmp_path / "p.safetensors", policy)
    with pytest.raises(CheckpointError, match="not finite"):
        read_policy(tmp_path / "p.safetensors")


def test_the_header_holds_the_policys_terms_and_no_module():
    header = make_policy(algorithm="my_robot.learners:Mine").header
    assert header.algorithm == "Mine"
    assert [term.name for term in header.spec.observation] == ["position"]
    assert header.network == {
        "trunk": {"name": "mlp", "hidden_dims": [4]},
        "log_std_bounds": [-20.0, 2.0],
        "normalised_terms": ["position"],
    }


def damaged(changes):
    policy = make_policy()
    tree = policy.header.as_tree()
    return save(policy.network.state_dict(), metadata={"sacpipe": json.dumps(tree | changes)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "boltzmann"}, "policy kind 'boltzmann': expected one of"),
        ({"kind": "os:getcwd"}, "policy kind 'os:getcwd': expected one of"),
        ({"network": {"trunk": {"name": "os:getcwd"}}}, "network.trunk.name: expected a registered trunk"),
        ({"network": {"trunk": {"name": "lstm"}}}, "network.trunk.name: trunk 'lstm': expected one of"),
        ({"algorithm": "os:getcwd"}, "algorithm: String should match pattern"),
    ],
)
def test_a_file_chooses_among_registered_members_only(tmp_path, changes, message):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(damaged(changes))
    with pytest.raises(ConfigError, match=message):
        read_policy(path)


def test_a_policy_that_no_reader_would_find_cannot_be_written():
    policy = make_policy()
    header = policy.header.replace(kind="mine")
    with pytest.raises(ConfigError, match="policy: policy kind 'mine': expected one of"):
        encode_policy(Policy(policy.network, header))


class NestedConfig(Config):
    """A registered trunk around another one, as another package may have it."""

    name: str
    inner: TrunkConfig

    def build(self, inputs, *, extra_dim, num):
        return self.inner.build(inputs, extra_dim=extra_dim, num=num)


@pytest.mark.parametrize("path", ["no_such_module_at_all:Trunk", f"{__name__}:NestedConfig"])
def test_an_import_path_inside_a_registered_trunk_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.setitem(TRUNKS.ours, "nested", f"{__name__}:NestedConfig")
    network = make_policy(
        trunk={"name": "nested", "inner": {"name": "mlp", "hidden_dims": [4]}}
    ).header.network
    network["trunk"]["inner"]["name"] = path
    (tmp_path / "p.safetensors").write_bytes(damaged({"network": network}))
    with pytest.raises(ConfigError, match=r"network\.trunk\.inner\.name: .* expected a registered name"):
        read_policy(tmp_path / "p.safetensors")
