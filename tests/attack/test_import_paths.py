"""No name in a file makes a reader import code, but that of a member which the machine's owner installed.

A robot asks for more: the code of a guard runs only where its operator enabled the name. The canary is an
installed package: a module that is on the path, with an entry point of every group.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundle_factories import make_spec
from dishonest_contracts import set_value
from forged_bundles import change_contract, reseal
from repository import ROOT
from safetensors.torch import load, save

from sacpipe.bundle.guards import find_guard
from sacpipe.networks.policies import POLICY_KINDS
from sacpipe.networks.policy_file import encode_policy, make_policy
from sacpipe.replay.pool.manifest import PoolManifest

pytestmark = pytest.mark.attack

HERE = Path(__file__).parent
CANARY = "attack_canary"
GROUPS = ("algorithms", "engines", "envs", "guards", "policies", "samplers", "trunks")
PLACES = (
    "spec.task",
    "spec.observation.0.name",
    "spec.observation.0.unit",
    "spec.observation.0.source",
    "spec.action.0.name",
    "spec.action.0.unit",
    "onnx.inputs.0.name",
    "onnx.output.name",
    "onnx.operators.0",
    "golden.name",
    "runtime.guards.0.name",
    "runtime.guards.0.fallback",
    "runtime.guards.0.type",
    "provenance.algorithm",
    "provenance.kind",
    "envelope.longest_constant.canary",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages with the canary."""
    folder = tmp_path_factory.mktemp("site")
    (folder / f"{CANARY}.py").write_text(
        "from sacpipe.core.config import Config\n\n\nclass Member(Config):\n    pass\n"
    )
    info = folder / f"{CANARY}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {CANARY}\nVersion: 1.0\n")
    entries = (f"[sacpipe.{group}]\n{CANARY} = {CANARY}:Member\n" for group in GROUPS)
    (info / "entry_points.txt").write_text("\n".join(entries))
    return folder


def probe(site, enabled, *bundles):
    """Pass bundles through the load gate in one process."""
    return run(site, "name_probe.py", enabled, *bundles)


def run(site, script, *words):
    """Run a probe where the canary is installed, and return what it writes."""
    result = subprocess.run(
        [sys.executable, HERE / script, CANARY, *words],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(result.stdout)


@pytest.fixture
def forge(bundles, tmp_path):
    """Return a function that writes a bundle whose contract is changed."""

    def make(name, change):
        folder = shutil.copytree(bundles[0], tmp_path / name)

        def with_a_guard(tree):
            tree["runtime"]["guards"] = [find_guard("shape").example().as_tree()]
            change(tree)

        change_contract(folder, with_a_guard)
        return folder

    return make


def test_nothing_is_imported_whatever_a_name_says(site, forge):
    names = (f"{CANARY}:Member", CANARY)
    cases = [(place, name) for place in PLACES for name in names]
    folders = [forge(str(n), set_value(place, name)) for n, (place, name) in enumerate(cases)]
    found = probe(site, "", *folders)
    assert not found["is_imported"]
    passed = {case for case, rule in zip(cases, found["rules"], strict=True) if rule is None}
    assert passed <= {(place, name) for place in PLACES[:6] for name in names} | {
        ("provenance.algorithm", CANARY)
    }  # these are shown and name no member
    assert ("spec.task", names[0]) not in passed


@pytest.mark.parametrize("is_last", [False, True])
def test_a_list_of_guards_that_is_given_twice_hides_no_guard(site, forge, is_last):
    folder = forge("twice", lambda tree: None)
    text = (folder / "contract.json").read_bytes()
    (listed,) = (line for line in text.split(b"\n") if line.lstrip().startswith(b'"guards":'))
    foreign = b'"guards": [{"name": "%s", "fallback": "safe"}],\n' % CANARY.encode()
    where = text.index(b'"max_last_steps"') if is_last else text.index(listed)
    reseal(folder, "contract.json", text[:where] + foreign + text[where:])
    found = probe(site, "", folder)
    assert found["rules"][0] in ("terms", "contract")
    assert not found["is_imported"]


def test_a_guard_is_imported_where_the_operator_enabled_it(site, forge):
    """The canary itself: without this, the tests above would prove nothing."""
    folder = forge("enabled", set_value("runtime.guards.0", {"name": CANARY, "fallback": "safe"}))
    assert probe(site, "", folder) == {"rules": ["terms"], "is_imported": False}
    assert probe(site, CANARY, folder) == {"rules": ["contract"], "is_imported": True}


POLICY_PLACES = ("kind", "algorithm", "network.trunk.name", "spec.task")


@pytest.fixture
def policy_tree():
    """The header of a policy as the product writes it, and its tensors."""
    config = POLICY_KINDS.find("deterministic").parse(
        {"trunk": {"name": "mlp", "hidden_dims": [4]}, "normalised_terms": []}
    )
    policy = make_policy(config, make_spec(), "sac")
    policy.network.reset(torch.Generator().manual_seed(1))
    data = encode_policy(policy)
    return policy.header.as_tree(), load(data)


def test_a_policy_imports_nothing_by_an_import_path(site, policy_tree, tmp_path):
    tree, tensors = policy_tree
    paths = []
    for place in (None, *POLICY_PLACES):
        forged = json.loads(json.dumps(tree))
        if place is not None:
            set_value(place, f"{CANARY}:Member")(forged)
        paths.append(tmp_path / f"{place}.safetensors")
        paths[-1].write_bytes(save(tensors, metadata={"sacpipe": json.dumps(forged)}))
    found = run(site, "read_probe.py", "policy", *paths)
    assert not found["is_imported"]
    assert found["errors"][0] is None
    refused = dict(zip(POLICY_PLACES, found["errors"][1:], strict=True))
    assert refused.pop("spec.task") in (None, "ConfigError", "CheckpointError")
    assert set(refused.values()) <= {"ConfigError", "CheckpointError"}


def test_a_policy_of_an_installed_kind_imports_it(site, policy_tree, tmp_path):
    """The canary itself, as for guards."""
    tree, tensors = policy_tree
    path = tmp_path / "policy.safetensors"
    path.write_bytes(save(tensors, metadata={"sacpipe": json.dumps(tree | {"kind": CANARY})}))
    assert run(site, "read_probe.py", "policy", path)["is_imported"]


def test_a_pool_imports_nothing_whatever_a_name_says(site, tmp_path):
    folders = []
    for index, place in enumerate(("", *PLACES[:6])):
        forged = PoolManifest.describe(make_spec(), "full", ()).as_tree()
        if place:
            set_value(place, f"{CANARY}:Member")(forged)
        folders.append(tmp_path / str(index))
        folders[-1].mkdir()
        (folders[-1] / "manifest.json").write_text(json.dumps(forged))
    found = run(site, "read_probe.py", "pool", *folders)
    assert not found["is_imported"]
    assert found["errors"][0] is None
