"""The load gate runs in a child process, which a bundle may crash."""

import subprocess
import sys

import numpy as np
import pytest
from bundle_factories import make_bundle, make_spec
from onnx import TensorProto, helper, numpy_helper

from sacpipe.core.errors import GateError
from sacpipe.robot.load_gate import LoadGateSettings
from sacpipe.rollout import load_gate_process
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
    assert admitted.policy.act(admitted.bundle.golden.observations.rows(0)).tolist() == [1.25, 2.5]
    assert admitted.report.p99_us > 0  # measured there


def test_what_is_refused_there_is_refused_here_in_the_same_words(files):
    error = refused(files, SETTINGS.replace(allowed_operators=["Add"]))
    assert error.rule == "graph"
    assert str(error).startswith(
        "refused by the rule 'graph': policy.onnx: expected only the operators allowed"
    )


def test_a_process_that_dies_is_a_refusal(files):
    """It has no memory left for onnxruntime."""
    error = refused(files, address_bytes=1)
    assert error.rule == "process"
    assert "expected a child process with exit code 0, found exit code" in str(error)


@pytest.mark.parametrize("num_bytes", [2**31, 2**29])
def test_the_memory_of_the_process_is_bounded_whatever_takes_it(files, num_bytes):
    """As where onnxruntime takes memory that the check of the graph did not foresee."""
    code = (
        "import sys; import sacpipe.rollout.load_gate_process as child\n"
        f"child.run_load_gate = lambda *_: bytearray({num_bytes})\n"
        "sys.exit(child.main())"
    )
    sizes = {name: len(data) for name, data in files.items()}
    task = load_gate_process._ChildInput(settings=SETTINGS, limits=LIMITS, sizes=sizes)
    child_input = task.model_dump_json().encode() + b"\n" + b"".join(files.values())
    child = subprocess.run([sys.executable, "-c", code], input=child_input, capture_output=True, check=False)
    assert child.returncode == 1
    assert child.stderr.decode().splitlines()[-1] == "MemoryError"


def test_a_policy_of_many_megabytes_has_memory_enough(tmp_path):
    """Its constants are read, parsed and packed: about three times its file."""
    width = 2000
    weights = [np.zeros(shape, np.float32) for shape in ((3, width), (width, width), (width, 2))]
    values = ["state", "first", "second", "action"]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [values[n], f"weight_{n}"], [values[n + 1]])
            for n in range(len(weights))
        ],
        "policy",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, f"weight_{n}") for n, weight in enumerate(weights)],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    spec = make_spec(control_period_s=5.0)
    folder = make_bundle(tmp_path / "large", model, spec, np.zeros((3, 3)), np.zeros((3, 2)))
    assert (folder / "policy.onnx").stat().st_size > 2**23
    run_load_gate_in_child(read_source(folder, allow_hard_links=False), SETTINGS)


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
