"""Network and export are compared, and a difference is found wherever it hides.

Exports are made or changed by hand here: the exporter itself takes a second each time.
"""

import numpy as np
import onnx
import pytest
import torch
from bundle_factories import make_spec
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from sacpipe.core.errors import ExportError, ParityError
from sacpipe.export import parity
from sacpipe.export.inputs import PolicyInputs, extreme_inputs, recorded_inputs, synthetic_inputs
from sacpipe.export.parity import check_parity
from sacpipe.robot import policy as serving
from sacpipe.specs.observation import Observation


def with_tensor(policy_onnx: bytes, shape: tuple[int, ...], change) -> bytes:
    """Return the policy with the first tensor of a shape changed."""
    model = onnx.load_from_string(policy_onnx)
    tensor = next(tensor for tensor in model.graph.initializer if tuple(tensor.dims) == shape)
    array = numpy_helper.to_array(tensor).copy()
    change(array)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model.SerializeToString()


def by_hand(*nodes, dims=(1, 1), **tensors) -> bytes:
    """Return a graph of nodes given as (operator, inputs, output)."""
    inputs, outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dim])
        for name, dim in zip(("state", "action"), dims, strict=True)
    )
    made = [helper.make_node(operator, names, [output]) for operator, names, output in nodes]
    arrays = [numpy_helper.from_array(np.array(rows, np.float32), name) for name, rows in tensors.items()]
    graph = helper.make_graph(made, "policy", [inputs], [outputs], arrays)
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString()


def check(module, policy_onnx, spec, rows, tolerance):
    """Check the parity of a deterministic policy on recorded rows of the vector."""
    recorded = PolicyInputs(Observation(spec.layout, rows, {}), None)
    return check_parity(module, policy_onnx, spec, recorded, tolerance)


def test_an_export_agrees_far_below_the_tolerance(policy, policy_onnx, spec, recorded):
    report = check(policy, policy_onnx, spec, recorded, 1e-5)
    assert report.max_error < 1e-6
    assert report.synthetic_max_error < 1e-5
    assert report.num_observations == 40 + 4 * 64 + 1 + 6 * 2 + 4
    expected = spec.to_task_units(policy(torch.from_numpy(recorded)).detach().numpy())
    np.testing.assert_allclose(report.golden_actions, expected, atol=1e-4)


def test_the_error_is_a_share_of_the_actions_range():
    """The action runs from 0 to 50: half a unit is a hundredth of its range."""
    spec = make_spec(1, ((0.0, 50.0),))
    half_a_unit_more = by_hand(
        ("Mul", ["state", "zero"], "nothing"), ("Add", ["nothing", "c"], "action"), zero=0, c=25.5
    )
    with pytest.raises(ParityError, match=r"gives 25, onnxruntime gives 25.5. They differ by 0.01 of"):
        check(Nothing(), half_a_unit_more, spec, np.float32([[1.0]]), 0.0099)
    report = check(Nothing(), half_a_unit_more, spec, np.float32([[1.0]]), 0.0101)
    assert report.max_error == report.synthetic_max_error == pytest.approx(0.01)


class Nothing(nn.Module):
    def forward(self, observations):
        return 0.0 * observations


class TestDifferencesAreFound:
    @pytest.mark.parametrize("shape", [(3, 16), (16, 4), (16,), (3,), (4,)])
    def test_one_number_moved_by_a_thousandth(self, policy, policy_onnx, spec, recorded, shape):
        def nudge(array):
            array.flat[1] += 1e-3

        with pytest.raises(
            ParityError, match=r"observation \d+, action 'joint_\d': the network gives .*gives"
        ):
            check(policy, with_tensor(policy_onnx, shape, nudge), spec, recorded, 1e-5)

    def test_two_actions_that_changed_places(self, policy, policy_onnx, spec, recorded):
        def swap(weight):
            weight[[0, 1]] = weight[[1, 0]]

        with pytest.raises(ParityError):
            check(policy, with_tensor(policy_onnx, (3, 16), swap), spec, recorded, 1e-5)

    def test_one_that_shows_on_a_single_recorded_observation(self):
        """Equal to zero everywhere but between 1234.5 and 1235.5, where one recorded observation is."""
        spec = make_spec(1, ((-1.0, 1.0),))
        flat = by_hand(("Mul", ["state", "zero"], "action"), zero=0)
        recorded = np.float32([[0.1], [1235.0], [0.2]])
        with pytest.raises(
            ParityError, match=r"recorded observation 1, action 'joint_0': the network gives 0.25"
        ):
            check(Bump(), flat, spec, recorded, 1e-3)
        assert check(Bump(), flat, spec, recorded[[0, 2]], 1e-3).max_error == 0.0

    def test_a_policy_that_looks_at_its_batch(self, recorded):
        spec = make_spec(4, ((-1.0, 1.0),) * 4)
        nodes = (
            ("ReduceMean", ["state", "axes"], "mean"),
            ("Sub", ["state", "mean"], "difference"),
        )
        model = onnx.load_from_string(by_hand(*nodes, ("Tanh", ["difference"], "action"), dims=(4, 4)))
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axes"))
        with pytest.raises(ParityError):
            check(BatchMean(), model.SerializeToString(), spec, recorded, 1e-5)

    def test_an_action_that_is_not_a_number(self):
        spec = make_spec(1, ((-1.0, 1.0),))
        logarithm = by_hand(
            ("Log", ["state"], "log"), ("Clip", ["log", "low", "high"], "action"), low=-1, high=1
        )
        with pytest.raises(ParityError, match=r"recorded observation 1, .* the network gives nan"):
            check(Logarithm(), logarithm, spec, np.float32([[0.5], [-1.0]]), 1e-5)

    def test_an_extreme_observation_that_leaves_the_limits(self):
        """Right up to a million, but without the clip of the task's units."""
        spec = make_spec(1, ((-1.0, 1.0),))
        unclipped = by_hand(("Mul", ["state", "c"], "action"), c=1e-7)
        with pytest.raises(
            ParityError, match=r"extreme observation 0, action 'joint_0': expected a value in \[-1, 1\]"
        ):
            check(Tiny(), unclipped, spec, np.float32([[0.5]]), 1e-5)


class Bump(nn.Module):
    def forward(self, observations):
        return (observations - 1234.5).clamp(0.0, 1.0) * (1235.5 - observations).clamp(0.0, 1.0)


class BatchMean(nn.Module):
    def forward(self, observations):
        return torch.tanh(observations - observations.mean(dim=0, keepdim=True))


class Logarithm(nn.Module):
    def forward(self, observations):
        return torch.log(observations)


class Tiny(nn.Module):
    def forward(self, observations):
        return 1e-7 * observations


class Cancelling(nn.Module):
    """Adds and takes away a large number: of a small observation, only rounding is left."""

    def forward(self, observations):
        return torch.tanh((observations + 1e4) - 1e4)


class TestWhereOnlyRoundingIsLeft:
    exact = staticmethod(lambda: by_hand(("Tanh", ["state"], "action")))

    def test_random_observations_may_differ_by_the_networks_own_rounding(self):
        spec = make_spec(1, ((-1.0, 1.0),))
        report = check(Cancelling(), self.exact(), spec, np.float32([[0.0]]), 1e-6)
        assert 1e-5 < report.synthetic_max_error < 1e-3
        assert report.max_error == 0.0

    def test_recorded_observations_may_not(self):
        spec = make_spec(1, ((-1.0, 1.0),))
        with pytest.raises(ParityError, match=r"recorded observation 0"):
            check(Cancelling(), self.exact(), spec, np.float32([[0.1234]]), 1e-6)

    @pytest.mark.parametrize("convert", [torch.Tensor.float, lambda tensor: tensor.to(torch.float32)])
    def test_a_network_that_converts_to_float32_is_measured_in_float64_too(self, convert):
        module = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
        module.register_forward_pre_hook(lambda _module, inputs: (convert(inputs[0]),))
        with pytest.raises(ParityError):
            check(module, self.exact(), make_spec(1, ((-1.0, 1.0),)), np.float32([[0.0]]), 1e-6)
        assert torch.get_default_dtype() == torch.float32

    def test_a_network_that_insists_on_float32_is_refused(self):
        module = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
        module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].type("torch.FloatTensor"),))
        with pytest.raises(ExportError, match="does not run in float64"):
            check(module, self.exact(), make_spec(1, ((-1.0, 1.0),)), np.float32([[0.0]]), 10.0)


class TestObservations:
    def test_synthetic_ones_are_always_the_same_and_finite(self, pixel_spec):
        first, second = synthetic_inputs(pixel_spec, 3), synthetic_inputs(pixel_spec, 3)
        for kind, inputs in first.items():
            assert inputs.observations.equals(second[kind].observations)
            np.testing.assert_array_equal(inputs.noise, second[kind].noise)
            assert inputs.observations.vector.dtype == inputs.noise.dtype == np.float32
            assert np.isfinite(inputs.observations.vector).all()
            assert inputs.noise.shape == (len(inputs), 3)

    def test_synthetic_ones_cover_zero_scales_and_boundaries(self):
        kinds = {
            kind: inputs.observations.vector for kind, inputs in synthetic_inputs(make_spec(5), None).items()
        }
        rows = np.concatenate(list(kinds.values()))
        for value in (0.0, 1e6, -1e6, np.float32(1e-45), np.float32(-1e-38)):
            assert (rows == np.float32(value)).all(axis=1).any(), value
        scales = [np.abs(block).mean() for kind, block in kinds.items() if "random" in kind]
        assert np.allclose(np.divide(scales[1:], scales[:-1]), 10.0)

    def test_images_are_random_black_and_white(self, pixel_spec):
        images = {
            kind: inputs.observations["camera"] for kind, inputs in synthetic_inputs(pixel_spec, None).items()
        }
        assert len(np.unique(images["random (scale 1)"])) == 256
        assert not images["zero"].any()
        assert [np.unique(image).tolist() for image in images["boundary (+-1)"]] == [[255], [0]]

    def test_extreme_ones_are_the_largest_numbers(self, pixel_spec):
        largest = np.finfo(np.float32).max
        assert extreme_inputs(make_spec(2), None).observations.vector.tolist() == [
            [largest, largest],
            [-largest, -largest],
            [-largest, largest],
            [largest, -largest],
        ]
        camera = extreme_inputs(pixel_spec, None).observations["camera"]
        assert [np.unique(image).tolist() for image in camera] == [[255], [0], [255], [0]]

    def test_noise_is_standard_normal(self):
        noise = recorded_inputs(make_spec(2).layout.empty(5000), 2).noise
        assert np.abs(noise.mean(axis=0)).max() < 0.05
        assert np.abs(noise.std(axis=0) - 1.0).max() < 0.05

    @pytest.mark.parametrize("observation_dim", [3, 5])
    def test_recorded_ones_of_other_terms_are_refused(self, policy, policy_onnx, spec, observation_dim):
        other = recorded_inputs(make_spec(observation_dim).layout.empty(3), None)
        with pytest.raises(ExportError, match=r"expected N finite ones of the terms state, found"):
            check_parity(policy, policy_onnx, spec, other, 1e-5)

    @pytest.mark.parametrize("wrong", [np.zeros((0, 4), np.float32), np.full((3, 4), np.nan, np.float32)])
    def test_none_recorded_and_values_that_are_not_finite_are_refused(self, policy, policy_onnx, spec, wrong):
        with pytest.raises(
            ExportError, match=r"recorded observations of example/Reach-v0: expected N finite"
        ):
            check(policy, policy_onnx, spec, wrong, 1e-5)


def test_a_file_that_onnxruntime_cannot_read_is_refused(policy, spec, recorded):
    with pytest.raises(ExportError, match=r"onnxruntime .* refuses the policy"):
        check(policy, b"no model", spec, recorded, 1e-5)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_number_of_torch_threads_is_left_as_it_was(policy, policy_onnx, spec, recorded, num_threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(num_threads)
        check(policy, policy_onnx, spec, recorded, 1e-5)
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)


def test_parity_is_measured_with_the_settings_of_the_robot():
    ours, theirs = parity.session_options(), serving.session_options()
    for setting in (
        "intra_op_num_threads",
        "inter_op_num_threads",
        "execution_mode",
        "graph_optimization_level",
    ):
        assert getattr(ours, setting) == getattr(theirs, setting)
    for entry in ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning"):
        assert ours.get_session_config_entry(entry) == theirs.get_session_config_entry(entry)
