"""policy.onnx takes raw observations, gives task units and holds nothing volatile, or is not written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from sacpipe.core.errors import ExportError
from sacpipe.core.policy_graph import read_graph
from sacpipe.export.onnx import export_policy

ROOT = Path(__file__).parents[2]


def run(policy_onnx: bytes, observations) -> np.ndarray:
    session = onnxruntime.InferenceSession(policy_onnx, providers=["CPUExecutionProvider"])
    return session.run(["action"], {"observation": np.asarray(observations, np.float32)})[0]


class Scaled(nn.Module):
    """Action = gain * observation: reaches -1 and 1 exactly, and beyond."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, observations):
        return self.gain * observations


@pytest.fixture(scope="module")
def scaled_onnx(spec_with):
    """Bounds -1 to 1, -0.4 to 0.4 and 0 to 50."""
    return export_policy(Scaled(1.0), spec_with(3), 20)


class TestTaskUnits:
    @pytest.mark.parametrize("size", [1.0, 1.5, 1e30])
    def test_saturation_reaches_the_bounds_exactly_and_stays_there(self, scaled_onnx, size):
        assert run(scaled_onnx, np.full((1, 3), size)).tolist() == [[1.0, float(np.float32(0.4)), 50.0]]
        assert run(scaled_onnx, np.full((1, 3), -size)).tolist() == [[-1.0, float(np.float32(-0.4)), 0.0]]

    def test_halves_of_the_range_are_reached_between(self, scaled_onnx):
        seen = [[0.0, 0.0, 0.0], [0.5, 0.0, 0.5], [-0.25, 0.0, -0.75]]
        assert run(scaled_onnx, seen).tolist() == [[0.0, 0.0, 25.0], [0.5, 0.0, 37.5], [-0.25, 0.0, 6.25]]

    def test_every_bit_is_that_of_the_environments_own_rescaling(self, spec_with):
        bounds = ((-1.17, 1.49), (0.1, 0.3), (-1e-3, 7e4))
        spec = spec_with(3, bounds)
        actions = np.random.default_rng(0).uniform(-1.2, 1.2, (500, 3)).astype(np.float32)
        np.testing.assert_array_equal(
            run(export_policy(Scaled(1.0), spec, 20), actions), spec.to_task_units(actions)
        )


class TestGraph:
    def test_one_input_one_output_any_batch(self, policy_onnx):
        session = onnxruntime.InferenceSession(policy_onnx, providers=["CPUExecutionProvider"])
        assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
            ("observation", "tensor(float)", ["batch", 4])
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

    def test_the_newest_operator_set_gives_the_same_actions(self, policy, policy_onnx, spec, recorded):
        other = export_policy(policy, spec, 25)
        assert read_graph(other).opset_version == 25
        np.testing.assert_array_equal(run(other, recorded), run(policy_onnx, recorded))

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

    def test_differ_by_one_bit_of_one_weight(self, make_policy, policy_onnx, spec):
        policy = make_policy()
        with torch.no_grad():
            policy.last.bias[0] = torch.nextafter(policy.last.bias[0], torch.tensor(9.0))
        assert export_policy(policy, spec, 20) != policy_onnx

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
        with pytest.raises(ExportError, match="does not take 4 entries of example/Reach-v0"):
            export_policy(make_policy(observation_dim=5), spec, 20)

    def test_another_action_size(self, make_policy, spec):
        with pytest.raises(ExportError, match=r"gives \(torch.float32, \(2, 2\)\) .*expected .*\(2, 3\)"):
            export_policy(make_policy(action_dim=2), spec, 20)

    def test_another_type(self, spec):
        module = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
        module.register_forward_hook(lambda _module, _inputs, output: output.double())
        with pytest.raises(ExportError, match=r"gives \(torch.float64"):
            export_policy(module, spec, 20)

    def test_a_weight_that_is_not_finite(self, make_policy, spec):
        policy = make_policy()
        with torch.no_grad():
            policy.last.weight[1, 2] = np.inf
        with pytest.raises(ExportError, match=r"the policy's 'last.weight' is not finite"):
            export_policy(policy, spec, 20)

    def test_one_batch_size_alone(self, spec):
        with pytest.raises(ExportError, match=r"cannot be exported for any batch size|has a batch of 2"):
            export_policy(Halved(), spec, 20)

    def test_an_operator_that_no_bundle_may_hold(self, spec):
        with pytest.raises(ExportError, match="found 'TopK'"):
            export_policy(Sorted(), spec, 20)


PROGRAM = """
import hashlib, sys
import numpy as np
import torch
from pathlib import Path
from sacpipe.core.bundle import Provenance
from sacpipe.core.records import ActionTerm, EnvSpec, ObservationTerm
from sacpipe.export.bundle import export_bundle
from sacpipe.export.config import ExportConfig

torch.manual_seed(3)
module = torch.nn.Sequential(torch.nn.Linear(9, 32), torch.nn.ELU(), torch.nn.Linear(32, 2), torch.nn.Tanh())
spec = EnvSpec(
    task="example/Reach-v0",
    observation=(ObservationTerm(name="state", size=9, unit="m", source="simulator"),),
    action=tuple(ActionTerm(name=name, unit="N", low=-1.5, high=2.5) for name in ("left", "right")),
    control_period_s=0.05,
    max_episode_steps=None,
)
config = ExportConfig(opset_version=20, parity_tolerance=1e-5, golden_steps=8)
recorded = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)
provenance = Provenance(algorithm="sac", digests={"policy": "ab" * 32, "params": "cd" * 32})
export_bundle(Path(sys.argv[1]), module, spec, config, recorded, provenance)
"""


def test_two_processes_in_other_folders_write_the_same_bundle(tmp_path):
    """Other working folders, hash seeds, thread counts, clocks and destinations; the same bytes."""
    programs = []
    for name, threads in (("one", "1"), ("two", "2")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(PROGRAM)
        environment = os.environ | {
            "PYTHONHASHSEED": threads,
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": str(ROOT),
            "TZ": f"UTC+{threads}",
        }
        command = [sys.executable, f"{name}.py", str(folder / "out" / name)]
        programs.append(subprocess.Popen(command, cwd=folder, env=environment))
    assert [program.wait(timeout=240) for program in programs] == [0, 0]
    for name in ("policy.onnx", "contract.json", "golden.npz", "manifest.json"):
        one, two = (tmp_path / folder / "out" / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name
