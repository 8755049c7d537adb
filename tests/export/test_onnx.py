"""policy.onnx takes raw observations, gives task units and holds nothing volatile, or is not written."""

import os
import runpy
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from bundle_factories import make_spec
from repository import ROOT
from torch import nn

from sacpipe.bundle.policy_graph import read_graph
from sacpipe.core.errors import ExportError
from sacpipe.export.onnx import export_policy


def run(policy_onnx: bytes, observations) -> np.ndarray:
    session = onnxruntime.InferenceSession(policy_onnx, providers=["CPUExecutionProvider"])
    return session.run(["action"], {"state": np.asarray(observations, np.float32)})[0]


class Scaled(nn.Module):
    """Action = gain * observation: reaches -1 and 1 exactly, and beyond."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, observations):
        return self.gain * observations


BOUNDS = ((-1.0, 1.0), (-0.4, 0.4), (0.0, 50.0), (-1.17, 1.49), (-3.0, 0.13))


@pytest.fixture(scope="module")
def scaled_onnx():
    return export_policy(Scaled(1.0), make_spec(5, BOUNDS), 20)


class TestTaskUnits:
    @pytest.mark.parametrize("size", [1.0, 1.5, 1e30])
    def test_saturation_reaches_the_bounds_exactly_and_stays_there(self, scaled_onnx, size):
        highest, lowest = run(scaled_onnx, np.full((2, 5), size) * [[1.0], [-1.0]])
        assert highest[:3].tolist() == [1.0, float(np.float32(0.4)), 50.0]
        assert lowest.tolist() == [float(np.float32(low)) for low, _ in BOUNDS]

    def test_rounding_never_carries_an_action_past_its_bound(self, scaled_onnx):
        """-3 + (0.13 - -3) is above 0.13 in float32."""
        low, high = np.float32(-3.0), np.float32(0.13)
        assert low + (high - low) > high
        assert run(scaled_onnx, np.ones((1, 5)))[0, 4] == high

    def test_halves_of_the_range_are_reached_between(self, scaled_onnx):
        seen = [[0.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0, 0.0], [-0.25, 0.0, -0.75, 0.0, 0.0]]
        expected = [[0.0, 0.0, 25.0], [0.5, 0.0, 37.5], [-0.25, 0.0, 6.25]]
        assert run(scaled_onnx, seen)[:, :3].tolist() == expected

    def test_every_bit_is_that_of_the_environments_own_rescaling(self, scaled_onnx):
        actions = np.random.default_rng(0).uniform(-1.2, 1.2, (500, 5)).astype(np.float32)
        expected = make_spec(5, BOUNDS).to_task_units(actions)
        np.testing.assert_array_equal(run(scaled_onnx, actions), expected)


class TestGraph:
    def test_one_input_one_output_any_batch(self, policy_onnx):
        session = onnxruntime.InferenceSession(policy_onnx, providers=["CPUExecutionProvider"])
        assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
            ("state", "tensor(float)", ["batch", 4])
        ]
        assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
            ("action", "tensor(float)", ["batch", 3])
        ]

    @pytest.mark.parametrize("batch", [1, 2, 3, 40])
    def test_a_batch_gives_what_its_rows_give(self, policy_onnx, recorded, batch):
        rows = np.concatenate([run(policy_onnx, row[None]) for row in recorded[:batch]])
        np.testing.assert_allclose(run(policy_onnx, recorded[:batch]), rows, atol=2e-6 * 50)

    def test_the_normaliser_is_inside(self, policy, policy_onnx, spec, recorded):
        raw = recorded * 100 - 7
        expected = spec.to_task_units(policy(torch.from_numpy(raw)).detach().numpy())
        np.testing.assert_allclose(run(policy_onnx, raw), expected, atol=1e-5)

    def test_what_is_not_a_number_is_not_clipped_into_an_action(self, policy_onnx):
        assert np.isnan(run(policy_onnx, [[np.nan, 0.0, 0.0, 0.0]])).all()

    def test_operators_and_versions_are_the_contracts(self, policy_onnx):
        model = onnx.load_from_string(policy_onnx)
        facts = read_graph(policy_onnx)
        assert facts.operators == tuple(sorted({node.op_type for node in model.graph.node}))
        assert (facts.opset_version, facts.ir_version) == (20, 10)

    @pytest.mark.slow
    def test_the_newest_operator_set_gives_the_same_actions(self, policy, policy_onnx, spec, recorded):
        other = export_policy(policy, spec, 25)
        assert read_graph(other).opset_version == 25
        np.testing.assert_array_equal(run(other, recorded), run(policy_onnx, recorded))

    @pytest.mark.slow
    def test_layers_of_other_algorithms(self, spec):
        torch.manual_seed(0)
        layers = [
            nn.Linear(4, 8),
            nn.LayerNorm(8),
            nn.LeakyReLU(),
            nn.Linear(8, 8),
            nn.BatchNorm1d(8),
            nn.ELU(),
        ]
        layers += [nn.Linear(8, 8), nn.SiLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.GELU(), nn.Softplus()]
        module = nn.Sequential(*layers, nn.Linear(8, 3), nn.Tanh())
        module(torch.randn(64, 4))  # batch statistics
        policy_onnx = export_policy(module, spec, 20)
        observations = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        with torch.no_grad():
            expected = spec.to_task_units(module.eval()(torch.from_numpy(observations)).numpy())
        np.testing.assert_allclose(run(policy_onnx, observations), expected, atol=1e-4)


class TestBytes:
    def test_hold_no_path_no_trace_and_no_name_of_a_tool(self, policy_onnx):
        for trace in (str(ROOT).encode(), b".py", b"torch", b"Linear", b"first", b"forward", b"mean"):
            assert trace not in policy_onnx

    @pytest.mark.slow
    def test_are_the_same_a_second_time_and_the_network_is_left_as_it_was(
        self, make_policy, policy_onnx, spec
    ):
        policy = make_policy().train()
        before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
        assert export_policy(policy, spec, 20) == policy_onnx
        assert policy.training
        assert all(parameter.requires_grad for parameter in policy.parameters())
        assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())


class Halved(nn.Module):
    """Gives as many rows as the example had."""

    def forward(self, observations):
        return torch.tanh(observations.reshape(2, -1))[:, :3]


class Sorted(nn.Module):
    def forward(self, observations):
        return torch.sort(observations, dim=1).values[:, :3]


class TestNetworksThatAreRefused:
    def test_another_observation_size(self, make_policy, spec):
        with pytest.raises(ExportError, match=r"does not take the terms state \[4\] of example/Reach-v0"):
            export_policy(make_policy(observation_dim=5), spec, 20)

    def test_another_action_size(self, make_policy, spec):
        with pytest.raises(ExportError, match=r"returns \(torch.float32, \(2, 2\)\) .*expected .*\(2, 3\)"):
            export_policy(make_policy(action_dim=2), spec, 20)

    def test_another_type(self, spec):
        module = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
        module.register_forward_hook(lambda _module, _inputs, output: output.double())
        with pytest.raises(ExportError, match=r"returns \(torch.float64"):
            export_policy(module, spec, 20)

    def test_a_weight_that_is_not_finite(self, make_policy, spec):
        policy = make_policy()
        with torch.no_grad():
            policy.last.weight[1, 2] = np.inf
        with pytest.raises(ExportError, match=r"the policy's 'last.weight' is not finite"):
            export_policy(policy, spec, 20)

    @pytest.mark.slow
    def test_one_batch_size_alone(self, spec):
        with pytest.raises(ExportError, match=r"cannot be exported for any batch size|has a batch of 2"):
            export_policy(Halved(), spec, 20)

    @pytest.mark.slow
    def test_an_operator_that_no_bundle_may_hold(self, spec):
        with pytest.raises(ExportError, match="found 'TopK'"):
            export_policy(Sorted(), spec, 20)


PROGRAM = """
import hashlib, sys
import numpy as np
import torch
from pathlib import Path
from bundle_factories import make_runtime, make_spec
from sacpipe.bundle.contract import Provenance
from sacpipe.export.bundle import export_bundle
from sacpipe.export.config import ExportConfig
from sacpipe.export.evidence import Evidence, envelope
from sacpipe.specs.observation import Observation

torch.manual_seed(3)
module = torch.nn.Sequential(torch.nn.Linear(9, 32), torch.nn.ELU(), torch.nn.Linear(32, 2), torch.nn.Tanh())
spec = make_spec(9, [(-1.5, 2.5), (-1.5, 2.5)])
config = ExportConfig(opset_version=20, parity_tolerance=1e-5, golden_steps=8)
recorded = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)
provenance = Provenance(algorithm="sac", digests={"policy": "ab" * 32, "params": "cd" * 32})
low, high = recorded.min(axis=0), recorded.max(axis=0)
observations = Observation(spec.layout, recorded, {})
evidence = Evidence(observations, envelope(spec, low, high, {"state": 1}), provenance)
export_bundle(Path(sys.argv[1]), module, spec, config, evidence, make_runtime())
"""


@pytest.mark.slow
def test_another_process_in_another_folder_writes_the_same_bundle(tmp_path, monkeypatch):
    """This warm process, and a fresh one with another folder, hash seed, clock and number of threads."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / f"{folder.name}.py").write_text(PROGRAM)
    settings = {
        "PYTHONHASHSEED": "4242",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "TZ": "UTC+9",
    }
    command = [sys.executable, "there.py", "out/far/away"]
    with subprocess.Popen(command, cwd=there, env=os.environ | settings) as fresh:
        monkeypatch.chdir(here)
        monkeypatch.setattr(sys, "argv", ["here.py", "bundle"])
        runpy.run_path("here.py")
    assert fresh.returncode == 0
    for name in ("policy.onnx", "contract.json", "golden.npz", "manifest.json"):
        assert (here / "bundle" / name).read_bytes() == (
            there / "out" / "far" / "away" / name
        ).read_bytes(), name
