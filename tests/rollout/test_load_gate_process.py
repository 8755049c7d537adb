"""The load gate runs in a child process, which a bundle may crash."""

import pytest

from sacpipe.core.errors import GateError
from sacpipe.robot.load_gate import LoadGateSettings
from sacpipe.rollout.load_gate_process import LIMITS, run_load_gate_in_child
from sacpipe.rollout.sources import read_source

pytestmark = pytest.mark.slow

SETTINGS = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)


@pytest.fixture
def files(bundles):
    return read_source(bundles[0], allow_hard_links=False)


def refused(files, settings=SETTINGS, **limits) -> GateError:
    with pytest.raises(GateError) as refusal:
        run_load_gate_in_child(files, settings, LIMITS.replace(**limits))
    return refusal.value


def test_what_passes_there_acts_here(files):
    admitted = run_load_gate_in_child(files, SETTINGS)
    assert admitted.policy.act(admitted.bundle.golden.observations[0]).tolist() == [1.25, 2.5]
    assert admitted.report.p99_us > 0  # measured there


def test_what_is_refused_there_is_refused_here_in_the_same_words(files):
    error = refused(files, SETTINGS.replace(allowed_operators=["Add"]))
    assert error.rule == "graph"
    assert str(error).startswith(
        "refused by the rule 'graph': policy.onnx: expected only the operators allowed"
    )


def test_a_process_that_dies_is_a_refusal(files):
    """It cannot hold what it is given: as where a graph asks onnxruntime for all memory there is."""
    error = refused(files | {"policy.onnx": bytes(2**25)}, address_bytes=2**20)
    assert error.rule == "process"
    assert "expected a child process with exit code 0, found exit code" in str(error)


def test_no_process_imports_a_file_of_the_current_folder(files, tmp_path, monkeypatch):
    """Unless this one does: where it was started by `python -m`, that folder is on its path."""
    (tmp_path / "sacpipe.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    assert run_load_gate_in_child(files, SETTINGS).policy is not None
    monkeypatch.syspath_prepend(tmp_path)
    error = refused(files)
    assert error.rule == "process"
    assert "found exit code 1 and the message 'not ours'" in str(error)


def test_a_process_that_says_something_else_is_a_refusal(files, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/echo")
    error = refused(files)
    assert error.rule == "process"
    assert r"expected a report, found b'-m sacpipe.rollout.load_gate_process\n'" in str(error)


def test_a_process_that_does_not_end_is_a_refusal(files):
    error = refused(files, time_s=0.01)
    assert error.rule == "process"
    assert "expected a report within 0.01 s, found none" in str(error)


def test_what_is_not_signed_as_asked_reaches_no_process(files):
    settings = SETTINGS.replace(public_keys=["ab" * 32], require_signature=True)
    assert refused(files, settings, time_s=0.01).rule == "signature"
