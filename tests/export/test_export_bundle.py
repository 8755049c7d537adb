"""The export stage's work, end to end: the bundle acts as the network does."""

import numpy as np
import pytest
import torch

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import ConfigError, ExportError, ParityError
from sacpipe.robot.policy import OnnxPolicy

pytestmark = pytest.mark.slow


def test_the_bundle_acts_as_the_network(exported, policy, spec, recorded):
    robot = OnnxPolicy(exported[0])
    with torch.no_grad():
        expected = spec.to_task_units(policy(torch.from_numpy(recorded)).numpy())
    given = np.stack([robot.act({"state": observation}) for observation in recorded])
    span = spec.action_high - spec.action_low
    assert np.abs((given - expected) / span).max() < 1e-6


def test_the_report_names_the_bundle_and_its_error(exported):
    folder, report = exported
    contract = open_bundle(folder).contract
    assert report.bundle_digest == bundle_digest(folder)
    assert report.parity.max_error < report.parity.tolerance == contract.golden.tolerance == 1e-5


def test_the_golden_sequence_is_the_start_of_what_was_recorded(exported, recorded):
    bundle = open_bundle(exported[0])
    np.testing.assert_array_equal(bundle.golden.observations["state"], recorded[:12])
    np.testing.assert_array_equal(bundle.golden.actions, exported[1].parity.golden_actions[:12])
    assert bundle.contract.golden.tolerance == 1e-5


def test_the_contract_carries_the_task_and_the_provenance(exported, spec, evidence):
    contract = open_bundle(exported[0]).contract
    assert contract.spec == spec
    assert contract.provenance == evidence.provenance


def test_too_few_recorded_observations_are_refused(tmp_path, export, evidence):
    short = evidence._replace(observations=evidence.observations.rows(slice(11)))
    with pytest.raises(ExportError, match="needs 12 recorded observations, found 11"):
        export(tmp_path / "bundle", evidence=short)


def test_no_bundle_is_written_where_parity_fails(tmp_path, monkeypatch, export, policy_onnx, config):
    monkeypatch.setattr("sacpipe.export.bundle.export_policy", lambda *_: policy_onnx)
    with pytest.raises(ParityError):
        export(tmp_path / "bundle", config=config.replace(parity_tolerance=1e-12))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change", [{"opset_version": 17}, {"opset_version": 26}, {"parity_tolerance": 0.0}, {"golden_steps": 0}]
)
def test_settings_out_of_bounds_are_refused(config, change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        config.replace(**change)
