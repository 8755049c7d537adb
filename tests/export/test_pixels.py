"""A stochastic policy of an image, a table, a number and a vector, from its export to the robot."""

import copy

import numpy as np
import pytest
import torch
from bundle_factories import make_spec, term_tree

from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import ExportError, ParityError
from sacpipe.export.bundle import check_export
from sacpipe.export.inputs import recorded_inputs
from sacpipe.export.onnx import export_policy
from sacpipe.export.parity import check_parity
from sacpipe.robot.policy import OnnxPolicy

pytestmark = pytest.mark.slow


def expected_actions(policy, spec, inputs):
    with torch.no_grad():
        return spec.to_task_units(policy(*inputs.tensors()).numpy())


def test_the_contract_lists_the_terms_and_the_noise(pixel_export):
    onnx = open_bundle(pixel_export[0]).contract.onnx
    assert [(port.name, port.dtype, port.shape) for port in onnx.inputs] == [
        ("camera", "uint8", (16, 16, 3)),
        ("table", "float32", (2, 2)),
        ("height (m)/left", "float32", ()),
        ("tensor_0", "float32", (2,)),
    ]
    assert (onnx.noise.name, onnx.noise.dim) == ("noise", 3)
    assert {"Cast", "Conv", "Transpose"} <= set(onnx.operators)


def test_the_golden_sequence_has_its_noise(pixel_export, pixel_policy, pixel_spec, pixel_observations):
    golden = open_bundle(pixel_export[0]).golden
    assert golden.observations.equals(pixel_observations)
    inputs = recorded_inputs(pixel_observations, 3)
    np.testing.assert_array_equal(golden.noise, inputs.noise)
    expected = expected_actions(pixel_policy, pixel_spec, inputs)
    np.testing.assert_allclose(golden.actions, expected, atol=1e-4)


def test_the_bundle_acts_as_the_network(pixel_export, pixel_policy, pixel_spec, pixel_observations):
    robot = OnnxPolicy(pixel_export[0])
    inputs = recorded_inputs(pixel_observations, 3)
    expected = expected_actions(pixel_policy, pixel_spec, inputs)
    for row in range(len(inputs)):
        observation = pixel_observations.rows(row)
        given = robot.act(observation, inputs.noise[row])
        np.testing.assert_allclose(given, expected[row], atol=1e-4)
        np.testing.assert_array_equal(robot.act(dict(observation), inputs.noise[row]), given)


def test_noise_is_drawn_by_the_seed(pixel_export, pixel_observations):
    observation = pixel_observations.rows(0)
    first, same, other = (OnnxPolicy(pixel_export[0], seed) for seed in (4, 4, 5))
    drawn = [policy.act(observation).tolist() for policy in (first, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert first.run(observation).tolist() == same.run(observation).tolist() != drawn[0]


def test_a_clone_draws_other_noise_always_the_same(pixel_export, pixel_observations):
    observation = pixel_observations.rows(0)
    policies = [OnnxPolicy(pixel_export[0]) for _ in range(2)]
    clones = [policy.clone_session() for policy in policies]
    drawn = [policy.act(observation).tolist() for policy in (*policies, *clones)]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]


def test_one_network_gives_the_same_bytes_twice(pixel_export, pixel_policy, pixel_spec):
    assert export_policy(pixel_policy, pixel_spec, 20) == (pixel_export[0] / "policy.onnx").read_bytes()


@pytest.mark.parametrize("opset", [18, 25])
def test_other_operator_sets(pixel_policy, pixel_spec, opset):
    assert read_graph(export_policy(pixel_policy, pixel_spec, opset)).opset_version == opset


@pytest.mark.parametrize("part", ["convolutions.0.weight", "convolutions.2.bias", "head.weight"])
def test_a_number_moved_by_a_hundredth_is_found(
    pixel_export, pixel_policy, pixel_spec, pixel_observations, part
):
    other = copy.deepcopy(pixel_policy)
    with torch.no_grad():
        other.get_parameter(part).view(-1)[0] += 0.01
    policy_onnx = (pixel_export[0] / "policy.onnx").read_bytes()
    with pytest.raises(ParityError):
        check_parity(other, policy_onnx, pixel_spec, recorded_inputs(pixel_observations, 3), 1e-5)


def test_terms_in_another_order_are_found(pixel_export, pixel_spec, pixel_observations):
    """The robot would give the height where the network expects the table."""
    spec = pixel_spec.replace(observation=[term.as_tree() for term in reversed(pixel_spec.observation)])
    other = pixel_spec.layout.terms
    inputs = recorded_inputs(pixel_observations, 3)
    assert [tuple(tensor.shape) for tensor in inputs.tensors()] == [
        (12, 16, 16, 3), (12, 2, 2), (12,), (12, 2), (12, 3)
    ]  # fmt: skip
    assert tuple(reversed(other)) == spec.observation
    with pytest.raises(ExportError, match="expected N finite ones of the terms tensor_0, height"):
        check_parity(torch.nn.Identity(), b"", spec, inputs, 1e-5)


class TestDryRun:
    def test_what_can_be_exported_passes(self, pixel_policy, pixel_spec, config):
        check_export(pixel_policy, pixel_spec, config)

    def test_an_operator_that_no_bundle_has(self, spec, config):
        module = torch.nn.Sequential(torch.nn.Linear(4, 3), Sorting())
        with pytest.raises(ExportError, match="found 'TopK'"):
            check_export(module, spec, config)

    def test_code_that_fails_by_an_error_of_its_own(self, spec, config):
        with pytest.raises(ExportError, match=r"does not take the terms state \[4\] .*: no policy"):
            check_export(Broken(), spec, config)

    def test_terms_of_another_number(self, pixel_policy, spec, config):
        with pytest.raises(ExportError, match="does not take the terms"):
            check_export(pixel_policy, spec, config)

    def test_golden_steps_that_no_robot_reads(self, pixel_policy, pixel_spec, config):
        """A row has 768 bytes of image, 7 numbers of terms, 3 of the action and 3 of the noise."""
        large = pixel_spec.replace(
            observation=[
                term.as_tree() | ({"shape": [512, 512, 3]} if term.dtype == "uint8" else {})
                for term in pixel_spec.observation
            ]
        )
        with pytest.raises(
            ExportError, match="export.golden_steps: expected at most 85 observations of 786484"
        ):
            check_export(pixel_policy, large, config.replace(golden_steps=86))

    def test_more_numbers_than_a_contract_lists(self, config):
        with pytest.raises(ExportError, match="expected at most 8192 float32 entries"):
            check_export(torch.nn.Identity(), make_spec(8193), config)

    def test_a_convolution_that_takes_too_much_time(self, config):
        spec = make_spec(observation=[term_tree("camera", 256, 256, 3, dtype="uint8")])
        with pytest.raises(
            ExportError, match="not a plain graph: .*expected (at most .* operations|values of at)"
        ):
            check_export(Heavy(), spec, config)


class Sorting(torch.nn.Module):
    def forward(self, values):
        return torch.tanh(torch.sort(values, dim=1).values)


class Broken(torch.nn.Module):
    def forward(self, *terms):
        raise LookupError("no policy")


class Heavy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 64, 9)
        self.last = torch.nn.Linear(64, 2)

    def forward(self, camera):
        hidden = self.first(camera.permute(0, 3, 1, 2).float())
        return torch.tanh(self.last(hidden.mean(dim=(2, 3))))
