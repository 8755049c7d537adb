"""A policy acts as its bundle says, refuses other observations, and never opens a bundle that differs."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from repository import ROOT

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import BundleError, ObservationError
from sacpipe.robot.policy import OnnxPolicy, session_options


def observation(*values) -> np.ndarray:
    return np.array(values, np.float32)


class TestActing:
    @pytest.mark.parametrize(
        ("seen", "action"),
        [
            ((0.5, 0.25, 0.0), (1.25, 2.5)),  # 0.5 - 0.25 + 1, and twice that
            ((0.0, 1.0, 7.0), (0.0, 0.0)),
            ((1e30, 0.0, 0.0), (3.0, 4.0)),  # the limits themselves, exactly
            ((0.0, 1e30, 0.0), (-2.0, -4.0)),
        ],
    )
    def test_gives_the_action_in_task_units(self, build, seen, action):
        given = OnnxPolicy(build()).act(observation(*seen))
        assert given.dtype == np.float32
        assert given.tolist() == list(action)

    def test_a_clone_has_memory_of_its_own(self, build):
        policy = OnnxPolicy(build())
        clone_session = policy.clone_session()
        mine, its = policy.run(observation(0.5, 0.25, 0.0)), clone_session.run(observation(3.0, 1.0, 0.0))
        assert (mine.tolist(), its.tolist()) == ([1.25, 2.5], [3.0, 4.0])

    def test_says_which_bundle_it_is(self, build):
        folder = build()
        policy = OnnxPolicy(folder)
        assert policy.digest == bundle_digest(folder)
        assert policy.contract.spec.action[0].name == "shoulder"
        assert policy.golden_error == 0.0

    def test_actions_are_not_overwritten_by_later_ones(self, build):
        policy = OnnxPolicy(build())
        first = policy.act(observation(0.5, 0.25, 0.0))
        policy.act(observation(9.0, 0.0, 0.0))
        assert first.tolist() == [1.25, 2.5]

    def test_takes_a_view_that_is_not_contiguous(self, build):
        wide = np.array([0.5, 9.0, 0.25, 9.0, 0.0, 9.0], np.float32)
        assert OnnxPolicy(build()).act(wide[::2]).tolist() == [1.25, 2.5]

    def test_leaves_the_observation_alone(self, build):
        seen = observation(0.5, 0.25, 0.0)
        OnnxPolicy(build()).act(seen)
        assert seen.tolist() == [0.5, 0.25, 0.0]

    def test_runs_the_bytes_that_were_verified_not_the_file(self, build):
        folder = build()
        policy = OnnxPolicy(folder)
        shutil.rmtree(folder)
        assert policy.act(observation(0.0, 0.0, 0.0)).tolist() == [1.0, 2.0]

    def test_two_threads_get_their_own_actions(self, build):
        policy = OnnxPolicy(build())

        def act_often(position):
            return {tuple(policy.act(observation(position, 0.0, 0.0)).tolist()) for _ in range(2000)}

        with ThreadPoolExecutor(4) as pool:
            given = list(pool.map(act_often, (0.0, 0.25, 0.5, -1.0)))
        assert given == [{(1.0, 2.0)}, {(1.25, 2.5)}, {(1.5, 3.0)}, {(0.0, 0.0)}]


class TestObservations:
    @pytest.mark.parametrize(
        "wrong",
        [
            np.zeros(2, np.float32),
            np.zeros(4, np.float32),
            np.zeros((1, 3), np.float32),
            np.zeros((), np.float32),
            np.zeros(3, np.float64),
            np.zeros(3, np.int32),
            np.zeros(3, ">f4"),
        ],
    )
    def test_another_shape_or_type_is_refused(self, build, wrong):
        with pytest.raises(ObservationError, match=r"expected a float32 observation of shape \(3,\)"):
            OnnxPolicy(build()).act(wrong)

    @pytest.mark.parametrize(("index", "name"), [(0, "position[0]"), (1, "position[1]"), (2, "velocity[0]")])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_refused_and_named_in_every_entry(self, build, index, name, value):
        policy = OnnxPolicy(build())
        seen = observation(0.0, 0.0, 0.0)
        seen[index] = value
        with pytest.raises(ObservationError) as refusal:
            policy.act(seen)
        assert f"observation entry {index}, {name} (m" in str(refusal.value)
        assert f"is {value}; expected a finite number" in str(refusal.value)
        assert policy.act(observation(0.0, 0.0, 0.0)).tolist() == [1.0, 2.0]

    def test_infinities_of_both_signs_and_the_largest_numbers_are_told_apart(self, build):
        policy, largest = OnnxPolicy(build()), np.finfo(np.float32).max
        with pytest.raises(ObservationError, match=r"position\[0\] .* is inf"):
            policy.act(observation(np.inf, -np.inf, 0.0))
        assert policy.act(observation(largest, 0.0, largest)).tolist() == [3.0, 4.0]


class TestActionsThatBreakTheContract:
    def test_outside_the_limits_is_an_error(self, build, model):
        model.graph.initializer[3].CopyFrom(numpy_helper.from_array(np.float32([3.5, 4.0]), "high"))
        policy = OnnxPolicy(build(model, [[1.25, 2.5], [3.0, 4.0], [-2.0, -4.0]]))
        with pytest.raises(
            BundleError, match=r"gave \[3.5, 4.0\]; expected finite values .* Stop using the bundle"
        ):
            policy.act(observation(100.0, 0.0, 0.0))

    def test_not_a_number_is_an_error(self, build, model):
        """A product that overflows, minus itself, is not a number."""
        model.graph.node.insert(1, helper.make_node("Sub", ["product", "product"], ["nothing"]))
        model.graph.node.insert(2, helper.make_node("Add", ["product", "nothing"], ["same"]))
        model.graph.node[3].input[0] = "same"
        policy = OnnxPolicy(build(model))
        with pytest.raises(BundleError, match=r"gave \[.*nan\]; expected finite values"):
            policy.act(observation(3e38, -3e38, 0.0))


class TestBundlesThatAreRefused:
    @pytest.mark.parametrize(
        ("names", "kind"),
        [({"input": "obs"}, "input"), ({"output": "actions"}, "output"), ({"batch": 1}, "input")],
    )
    def test_other_names_or_a_fixed_batch(self, build, names, kind):
        with pytest.raises(BundleError, match=f"policy.onnx: expected one {kind} '.*found"):
            OnnxPolicy(build(**names))

    def test_a_second_output(self, build, model):
        model.graph.output.add().CopyFrom(
            helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["batch", 2])
        )
        with pytest.raises(BundleError, match=r"expected one output 'action'.*'scaled'"):
            OnnxPolicy(build(model))

    def test_what_onnxruntime_cannot_read(self, build, model):
        model.opset_import[0].version = 99
        with pytest.raises(
            BundleError, match=r"policy.onnx: onnxruntime .* refuses it: .*Upgrade onnxruntime"
        ):
            OnnxPolicy(build(model))

    @pytest.mark.parametrize("name", ["policy.onnx", "contract.json", "golden.npz", "manifest.json"])
    def test_a_damaged_file(self, build, name):
        folder = build()
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 4
        (folder / name).write_bytes(data)
        with pytest.raises(BundleError, match=f"bundle {folder}: "):
            OnnxPolicy(folder)


def test_the_session_has_one_thread_and_does_not_spin():
    options = session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"


@pytest.mark.parametrize("module", ["sacpipe.robot.policy", "sacpipe.bundle.reader"])
def test_importing_it_loads_nothing_of_training(module):
    heavy = ("torch", "mlflow", "dvc", "prefect", "gymnasium", "mujoco", "onnx", "safetensors")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_onnxruntime_sends_no_telemetry_and_writes_no_file_at_home(build, tmp_path):
    """Its wheels for Linux send events to their maker, and keep a database for them, from 1.29 on."""
    code = "import pathlib, sys, sacpipe.robot.policy as p; p.OnnxPolicy(pathlib.Path(sys.argv[1]))"
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [sys.executable, "-c", code, build()],
        env={"HOME": str(home), "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
    )
    assert list(home.rglob("*")) == []


def test_every_file_that_loads_onnxruntime_says_so_before():
    for path in [*ROOT.glob("sacpipe/**/*.py"), *ROOT.glob("pipelines/**/*.py")]:
        before, found, _ = path.read_text().partition("\nimport onnxruntime")
        assert not found or before.endswith('os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")'), path
