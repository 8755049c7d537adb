"""A policy that gives other golden actions on this machine than on the exporting machine is refused."""

import subprocess
import sys

import pytest
from repository import ROOT
from ruamel.yaml import YAML

from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import BundleError
from sacpipe.robot.policy import OnnxPolicy, check_golden_sequence


def test_golden_actions_of_another_policy(build):
    folder = build(actions=[[1.25, 2.5], [3.0, 4.0], [-2.0, -3.9]])
    with pytest.raises(BundleError, match=r"golden.npz: step 2, action 'elbow': expected -3.9.* found -4"):
        OnnxPolicy(folder)


def test_the_golden_tolerance_is_a_share_of_the_actions_range(build):
    within, beyond = 4.0 - 8.0 * 0.9e-5, 4.0 - 8.0 * 1.1e-5  # elbow: the range is 8, the tolerance 1e-5
    OnnxPolicy(build(actions=[[1.25, 2.5], [3.0, within], [-2.0, -4.0]]))
    with pytest.raises(BundleError, match=r"step 1, action 'elbow'"):
        OnnxPolicy(build(actions=[[1.25, 2.5], [3.0, beyond], [-2.0, -4.0]]))


def test_the_largest_difference_is_returned(build):
    """Elbow: 4e-5 of a range of 8."""
    folder = build(actions=[[1.25, 2.5], [3.0, 4.0 - 4e-5], [-2.0, -4.0]])
    bundle = open_bundle(folder)
    assert check_golden_sequence(bundle, OnnxPolicy(bundle).act) == pytest.approx(5e-6, rel=0.02)


@pytest.mark.slow
def test_the_evaluate_stage_depends_on_every_robot_module_that_the_policy_imports():
    code = (
        "import sys, sacpipe.robot.policy; print(*(n for n in sys.modules if n.startswith('sacpipe.robot.')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    stage = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["evaluate"]
    listed = {path for path in stage["deps"] if path.startswith("sacpipe/robot")}
    assert listed >= {f"{name.replace('.', '/')}.py" for name in result.stdout.split()}
