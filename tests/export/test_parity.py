"""Network and export are compared, and a difference is found wherever it hides."""

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from sacpipe.core.errors import ExportError, ParityError
from sacpipe.export import parity
from sacpipe.export.onnx import export_policy
from sacpipe.export.parity import check_parity, extreme_observations, synthetic_observations
from sacpipe.serving import policy as serving


def with_tensor(policy_onnx: bytes, shape: tuple[int, ...], change) -> bytes:
    """Return the policy with the first tensor of a shape changed."""
    model = onnx.load_from_string(policy_onnx)
    tensor = next(tensor for tensor in model.graph.initializer if tuple(tensor.dims) == shape)
    array = numpy_helper.to_array(tensor).copy()
    change(array)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model.SerializeToString()


def test_an_export_agrees_far_below_the_tolerance(policy, policy_onnx, spec, recorded):
    report = check_parity(policy, policy_onnx, spec, recorded, 1e-5)
    assert report.max_error < 1e-6
    assert report.synthetic_max_error < 1e-5
    assert report.num_observations == len(recorded) + len(synthetic_observations(4)) + 4
    expected = spec.to_task_units(policy(torch.from_numpy(recorded)).detach().numpy())
    np.testing.assert_allclose(report.golden_actions, expected, atol=1e-4)


def test_the_error_is_a_share_of_the_actions_range(policy, policy_onnx, spec, recorded):
    """Joint 2 runs from 0 to 50: half a unit is a hundredth of its range."""
    shifted = with_tensor(policy_onnx, (16, 3), lambda weight: None)
    model = onnx.load_from_string(shifted)
    model.graph.output[0].name = "action"
    low = next(
        t
        for t in model.graph.initializer
        if numpy_helper.to_array(t).tolist() == [-1.0, np.float32(-0.4), 0.0]
    )
    low.CopyFrom(numpy_helper.from_array(np.float32([-1.0, -0.4, 0.5]), low.name))
    with pytest.raises(ParityError, match=r"action 'joint_2'.*They differ by 0\.01 of the action's range"):
        check_parity(policy, model.SerializeToString(), spec, recorded, 1e-3)


class TestDifferencesAreFound:
    def test_one_weight_moved_by_a_thousandth(self, policy, policy_onnx, spec, recorded):
        def nudge(weight):
            weight[3, 2] += 1e-3

        with pytest.raises(
            ParityError, match=r"observation \d+, action 'joint_\d'.*the network gives .*gives"
        ):
            check_parity(policy, with_tensor(policy_onnx, (3, 16), nudge), spec, recorded, 1e-5)

    def test_a_normaliser_that_was_left_out(self, policy, spec, recorded):
        bare = copy.deepcopy(policy)
        bare.mean.zero_()
        bare.scale.fill_(1.0)
        with pytest.raises(ParityError):
            check_parity(policy, export_policy(bare, spec, 20), spec, recorded, 1e-5)

    def test_two_actions_that_changed_places(self, policy, policy_onnx, spec, recorded):
        def swap(weight):
            weight[[0, 1]] = weight[[1, 0]]

        with pytest.raises(ParityError):
            check_parity(policy, with_tensor(policy_onnx, (3, 16), swap), spec, recorded, 1e-5)

    def test_one_that_shows_on_a_single_recorded_observation(self, spec_with):
        """Two networks that differ only above 1234.5, where one recorded observation lies."""
        spec = spec_with(1, ((-1.0, 1.0),))
        recorded = np.array([[0.1], [1234.75], [0.2]], np.float32)
        steep, flat = Above(1.0).eval(), Above(0.0).eval()
        with pytest.raises(ParityError, match=r"recorded observation 1, action 'joint_0'"):
            check_parity(steep, export_policy(flat, spec, 20), spec, recorded, 1e-3)

    def test_a_policy_that_looks_at_its_batch(self, spec, recorded):
        module = BatchMean().eval()
        with pytest.raises(ParityError, match="onnxruntime"):
            check_parity(module, export_policy(module, spec, 20), spec, recorded, 1e-5)

    def test_an_action_that_is_not_a_number(self, spec_with):
        spec = spec_with(1, ((-1.0, 1.0),))
        module = Logarithm().eval()
        with pytest.raises(ParityError, match="nan"):
            check_parity(module, export_policy(module, spec, 20), spec, np.float32([[0.5], [-1.0]]), 1e-5)


class Above(nn.Module):
    """tanh of how far the observation is above 1234.5, within one unit."""

    def __init__(self, gain):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, observations):
        distance = (observations - 1234.5).clamp(0.0, 1.0)
        inside = distance * (1235.5 - observations).clamp(0.0, 1.0)
        return torch.tanh(self.gain * inside)


class BatchMean(nn.Module):
    def forward(self, observations):
        return torch.tanh(observations - observations.mean(dim=0, keepdim=True))[:, :3]


class Logarithm(nn.Module):
    def forward(self, observations):
        return torch.log(observations)


class TestIllConditionedPolicies:
    """Where the last bit of an observation decides the action, no runtime can be held to the tolerance."""

    def test_are_held_to_the_tolerance_on_what_the_task_showed(self, make_policy, spec, recorded):
        wild = make_policy(gain=3e3).eval()
        with pytest.raises(ParityError, match="recorded observation"):
            check_parity(wild, export_policy(wild, spec, 20), spec, recorded, 1e-9)

    def test_may_differ_on_random_observations_by_their_own_rounding(self, spec_with):
        spec = spec_with(4, ((-1.0, 1.0),))
        wild = Cancelling().eval()
        recorded = np.zeros((1, 4), np.float32)
        report = check_parity(wild, export_policy(wild, spec, 20), spec, recorded, 1e-6)
        assert report.max_error == 0.0


class Cancelling(nn.Module):
    """Adds and takes away the same large number: only rounding is left of it."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 4, bias=False)
        self.unmix = nn.Linear(4, 1, bias=False)
        with torch.no_grad():
            self.mix.weight.copy_(
                torch.tensor([[3e4, 1, 2, 5], [-3e4, 2, 1, 1], [1, 7e3, 1, 1], [2, -7e3, 3, 1]])
            )
            self.unmix.weight.copy_(torch.tensor([[1.0, 1.0, 1.0, 1.0]]))

    def forward(self, observations):
        return torch.tanh(self.unmix(self.mix(observations)))


class TestObservations:
    def test_synthetic_ones_are_always_the_same_and_finite(self):
        first, second = synthetic_observations(5), synthetic_observations(5)
        np.testing.assert_array_equal(first, second)
        assert first.dtype == np.float32
        assert np.isfinite(first).all()
        for value in (0.0, 1e6, -1e6, np.float32(1e-45), np.float32(-1e-38)):
            assert (first == np.float32(value)).all(axis=1).any(), value

    def test_extreme_ones_are_the_largest_numbers(self):
        largest = np.finfo(np.float32).max
        assert extreme_observations(2).tolist() == [
            [largest, largest],
            [-largest, -largest],
            [-largest, largest],
            [largest, -largest],
        ]

    @pytest.mark.parametrize(
        "wrong",
        [
            np.zeros((0, 4), np.float32),
            np.zeros((3, 5), np.float32),
            np.zeros(4, np.float32),
            np.zeros((3, 4)),
            np.full((3, 4), np.nan, np.float32),
        ],
    )
    def test_recorded_ones_that_do_not_fit_are_refused(self, policy, policy_onnx, spec, wrong):
        with pytest.raises(
            ExportError, match=r"recorded observations of example/Reach-v0: expected finite float32"
        ):
            check_parity(policy, policy_onnx, spec, wrong, 1e-5)


def test_a_file_that_onnxruntime_cannot_read_is_refused(policy, spec, recorded):
    with pytest.raises(ExportError, match=r"onnxruntime .* refuses it"):
        check_parity(policy, b"no model", spec, recorded, 1e-5)


def test_the_number_of_torch_threads_is_left_as_it_was(policy, policy_onnx, spec, recorded):
    before = torch.get_num_threads()
    check_parity(policy, policy_onnx, spec, recorded, 1e-5)
    assert torch.get_num_threads() == before


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
