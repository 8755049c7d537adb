"""A package with members of its own, installed from its wheel: from training to the answer of a server.

Its algorithm, policy kind, sampler, guard, tracker, orchestrator, section of the report and both tasks are one file each
(tests/example_package); nothing of the product is changed for them.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from repository import ROOT
from served import running
from small_project import make_project, sacpipe, with_few_rules, with_values

from sacpipe.core.files import read_json

pytestmark = pytest.mark.acceptance

SMALL = {"hidden_dims": [32, 32], "episodes": 10, "bootstrap_resamples": 100, "golden_steps": 8}
CHECKS = """
import sys
from pathlib import Path

from sacpipe.algorithms import ALGORITHMS
from sacpipe.bundle.guards import GUARDS
from sacpipe.envs import SUITES
from sacpipe.flow.orchestrator import ORCHESTRATORS
from sacpipe.release.rules.rule import RULES
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.rollout.registries import TRACKERS
from sacpipe.testing.environments import check_env
from sacpipe.testing.guards import check_guard
from sacpipe.testing.learners import check_learner
from sacpipe.testing.orchestrators import check_orchestrator
from sacpipe.testing.rules import check_rule
from sacpipe.testing.samplers import check_sampler
from sacpipe.testing.trackers import check_registry, check_tracker

check_learner(ALGORITHMS.find("ddpg").example())
check_sampler(SAMPLERS.find("recent").example())
check_guard(GUARDS.find("action_power"))
check_rule(RULES.find("no_fall"))
for check in (check_tracker, check_registry):
    check(TRACKERS.find("one_file")(name="one_file"))
check_orchestrator(ORCHESTRATORS.find("journal"), Path(sys.argv[1]))
for suite in ("camera", "blind"):
    check_env(SUITES.find(suite).example())
"""
TERMS = "gate:\n  enabled_guards: [action_power]\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the package's wheel, install it into a folder, and return the environment that finds it."""
    folder = tmp_path_factory.mktemp("example")
    source = folder / "source"
    subprocess.run(["cp", "-r", ROOT / "tests" / "example_package", source], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source], check=True
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    paths = [str(folder / "site"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def train(folder, site, *params, edits=(), **values):
    """Make a project of the printed params with some changes, and run all its stages."""
    project = make_project(folder)
    text = sacpipe(project, "params", *params, env=site, check=0).out
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    (project / "params.yaml").write_text(with_values(with_few_rules(text), **SMALL | values))
    sacpipe(project, "lock", env=site, check=0)
    outcome = sacpipe(project, "run", "--engine", "journal", env=site, check=0)
    assert "gate       accepted" in outcome.out
    journal = (project / ".sacpipe" / "journal.jsonl").read_text().splitlines()
    assert {"train", "ledger train", "register", "gate", "release", "run"} <= {
        json.loads(line)["step"] for line in journal
    }
    return project


def ask(server, tensors):
    status, answer = server.infer({"inputs": tensors})
    assert status == 200, answer
    return np.array(answer["outputs"][0]["data"])


def test_every_member_keeps_its_contract(site, tmp_path):
    subprocess.run([sys.executable, "-c", CHECKS, tmp_path], check=True, env=os.environ | site)


def test_an_algorithm_a_kind_a_sampler_a_guard_and_an_asymmetric_critic(site, tmp_path):
    project = train(
        tmp_path / "blind",
        site,
        *("blind/line-v0", "--algorithm", "ddpg", "--steps", "1500"),
        edits=[
            ("    name: uniform", "    name: recent "),
            (
                "    - {name: deadline_missed",
                "    - {name: action_power, fallback: limit, max_power: 0.9}\n    - {name: deadline_missed",
            ),
        ],
        min_return_mean=-40.0,
    )
    assert (
        "Steps of each evaluation episode of blind/line-v0."
        in (project / ".sacpipe" / "report.html").read_text()
    )
    bundle = project / "out" / "export" / "bundle"
    contract = read_json(bundle / "contract.json", AssertionError)
    assert [term["name"] for term in contract["spec"]["observation"]] == [
        "position"
    ]  # the critics' is left out
    assert contract["onnx"]["noise"]["dim"] == 1
    assert "action_power" in [guard["name"] for guard in contract["runtime"]["guards"]]
    assert contract["provenance"]["algorithm"] == "ddpg"
    assert "sacpipe_example" not in (bundle / "contract.json").read_text()
    graph = (project / "dvc.yaml").read_text()  # the folder of the package is none of this Python's own
    for name in ("algorithm", "blind_task", "guard", "policy_kind", "sampler"):
        assert f"/sacpipe_example/{name}.py" in graph
    terms = tmp_path / "terms.yaml"
    terms.write_text(TERMS)
    refused = sacpipe(project, "check", "out/export/bundle", env=site)
    assert refused.code == 1
    assert "action_power" in refused.err
    with running("-m", "sacpipe.server", bundle, "--port", "0", "--terms", terms, env=site) as server:
        position = {"name": "position", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}
        first, second = (ask(server, [position]) for _ in range(2))
        assert (abs(first) <= 1.0).all()
        assert first != second  # the policy stays stochastic


def test_a_task_with_an_image_and_a_vector_is_learned_by_convolutions(site, tmp_path):
    project = train(tmp_path / "camera", site, "camera/reach-v0", "--steps", "3000", min_return_mean=-12.0)
    metrics = read_json(project / "out" / "evaluate" / "metrics.json", AssertionError)
    assert metrics["bundle"]["return_mean"] > -12.0  # the first evaluation is near -20
    with running(
        "-m", "sacpipe.server", project / "out" / "export" / "bundle", "--port", "0", env=site
    ) as server:
        inputs = {term["name"]: term for term in server.get("/v2/models/policy")[1]["inputs"]}
        assert inputs["camera"]["datatype"] == "UINT8"
        image = {"name": "camera", "shape": [1, 12, 12, 1], "datatype": "UINT8", "data": [0] * 144}
        vector = {"name": "velocity", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 0.0]}
        action = ask(server, [image, vector])
        assert (abs(action) <= 2.0).all()
