"""A policy acts as its bundle says, refuses other observations, and never opens a bundle that differs."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from bundle_factories import make_spec, term_tree
from onnx import TensorProto, helper, numpy_helper
from repository import ROOT
from robot_fixtures import SPEC

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import BundleError, ObservationError
from sacpipe.robot.observation import name_fault
from sacpipe.robot.policy import OnnxPolicy, session_options
from sacpipe.specs.observation import Observation


def observation(*values) -> dict[str, np.ndarray]:
    rows = np.array(values, np.float32)
    return {"position": rows[:2], "velocity": rows[2:]}


def packed(*values) -> Observation:
    return SPEC.layout.pack(observation(*values))


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
        policy = OnnxPolicy(build())
        for given in (policy.act(observation(*seen)), policy.act(packed(*seen)), policy.run(packed(*seen))):
            assert given.dtype == np.float32
            assert given.tolist() == list(action)

    def test_a_clone_has_memory_of_its_own(self, build):
        policy = OnnxPolicy(build())
        clone_session = policy.clone_session()
        mine, its = policy.run(packed(0.5, 0.25, 0.0)), clone_session.run(packed(3.0, 1.0, 0.0))
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
        wide = np.array([0.5, 9.0, 0.25, 9.0], np.float32)
        seen = {"position": wide[::2], "velocity": np.zeros(1, np.float32)}
        assert OnnxPolicy(build()).act(seen).tolist() == [1.25, 2.5]

    def test_takes_an_observation_of_the_whole_task(self, build):
        """The critic's term is left out, and the other terms are found behind it."""
        secret = term_tree("secret", 2, groups=["critic"])
        whole = SPEC.replace(observation=[secret, *(term.as_tree() for term in SPEC.observation)])
        policy = OnnxPolicy(build())
        seen = whole.layout.pack(observation(0.5, 0.25, 0.0) | {"secret": np.full(2, np.nan)})
        assert policy.act(seen).tolist() == [1.25, 2.5]
        policy.check_task(whole)

    def test_the_inputs_are_places_of_one_vector(self, build):
        """The session reads the packed vector itself: nothing is copied term by term."""
        policy = OnnxPolicy(build())
        tensors = policy._tensors
        assert [
            array.ctypes.data - tensors.observation.vector.ctypes.data
            for array in tensors.observation.values()
        ] == [0, 8]
        tensors.observation.vector[:] = (0.5, 0.25, 0.0)
        tensors.run()
        assert tensors.action.tolist() == [1.25, 2.5]

    def test_leaves_the_observation_alone(self, build):
        seen = packed(0.5, 0.25, 0.0)
        OnnxPolicy(build()).act(seen)
        assert seen.vector.tolist() == [0.5, 0.25, 0.0]

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
            np.zeros(1, np.float32),
            np.zeros(3, np.float32),
            np.zeros((1, 2), np.float32),
            np.zeros((), np.float32),
            np.zeros(2, np.float64),
            np.zeros(2, np.int32),
            np.zeros(2, ">f4"),
            [0.0, 0.0],
        ],
    )
    def test_another_shape_or_type_is_refused(self, build, wrong):
        seen = {"position": wrong, "velocity": np.zeros(1, np.float32)}
        with pytest.raises(
            ObservationError, match=r"observation position of .*: expected float32 of shape \(2,\), found"
        ):
            OnnxPolicy(build()).act(seen)

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"velocity": None}, "'velocity' is missing"),
            ({"speed": np.zeros(1, np.float32)}, "'speed' is not a term"),
        ],
    )
    def test_a_term_that_is_missing_or_unknown_is_named(self, build, change, fault):
        seen = {name: array for name, array in (observation(0, 0, 0) | change).items() if array is not None}
        with pytest.raises(ObservationError, match=f"expected the terms position, velocity of .*: {fault}"):
            OnnxPolicy(build()).act(seen)

    def test_several_observations_are_refused(self, build):
        many = SPEC.layout.empty(4)
        with pytest.raises(ObservationError, match=r"found several, with the leading axes \[4\]"):
            OnnxPolicy(build()).act(many)

    def test_an_observation_of_another_task_is_refused(self, build):
        policy = OnnxPolicy(build())
        with pytest.raises(ObservationError, match=r"with position float32 \[2\], .*; found one with state"):
            policy.act(make_spec(3).layout.pack({"state": np.zeros(3)}))
        assert policy.act(packed(0.0, 0.0, 0.0)).tolist() == [1.0, 2.0]

    @pytest.mark.parametrize(("index", "name"), [(0, "position[0]"), (1, "position[1]"), (2, "velocity[0]")])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_refused_and_named_in_every_entry(self, build, index, name, value):
        policy = OnnxPolicy(build())
        seen = packed(0.0, 0.0, 0.0)
        seen.vector[index] = value
        with pytest.raises(ObservationError) as refusal:
            policy.act(seen)
        assert f"observation {name} (m" in str(refusal.value)
        assert f"is {value}; expected a finite number" in str(refusal.value)
        assert policy.act(observation(0.0, 0.0, 0.0)).tolist() == [1.0, 2.0]

    @pytest.mark.parametrize(
        ("index", "name"), [(0, "height (m)"), (3, "table[1][0] (m)"), (6, "tail[1] (m)")]
    )
    def test_the_name_has_the_index_in_the_terms_own_shape(self, index, name):
        """The vector is height, then the table, then the tail, which the critics see too."""
        terms = [
            term_tree("tail", 2),
            term_tree("height", groups=["policy"]),
            term_tree("table", 2, 2, groups=["policy"]),
        ]
        spec = make_spec(observation=terms)
        vector = np.zeros(7, np.float32)
        vector[index] = np.nan
        assert name_fault(vector, spec).startswith(f"observation {name} of example/Reach-v0 is nan")

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
        model.graph.node.insert(2, helper.make_node("Sub", ["product", "product"], ["nothing"]))
        model.graph.node.insert(3, helper.make_node("Add", ["product", "nothing"], ["same"]))
        model.graph.node[4].input[0] = "same"
        policy = OnnxPolicy(build(model))
        with pytest.raises(BundleError, match=r"gave \[.*nan\]; expected finite values"):
            policy.act(observation(3e38, -3e38, 0.0))


class TestBundlesThatAreRefused:
    @pytest.mark.parametrize(
        ("names", "kind"),
        [
            ({"terms": {"position": 2, "speed": 1}}, "input 1 'velocity'"),
            ({"terms": {"position": 1, "velocity": 2}}, "input 0 'position'"),
            ({"terms": {"position": 3}}, "input 0 'position'"),
            ({"output": "actions"}, "output 0 'action'"),
            ({"batch": 1}, "input 0 'position'"),
        ],
    )
    def test_other_names_sizes_or_a_fixed_batch(self, build, names, kind):
        with pytest.raises(BundleError, match=f"policy.onnx: expected {kind}, .*found"):
            OnnxPolicy(build(**names))

    def test_a_second_output(self, build, model):
        model.graph.output.add().CopyFrom(
            helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["batch", 2])
        )
        with pytest.raises(BundleError, match=r"expected 1 outputs, found 2"):
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


@pytest.mark.slow
@pytest.mark.parametrize("module", ["sacpipe.robot.policy", "sacpipe.bundle.reader"])
def test_importing_it_loads_nothing_of_training(module):
    heavy = ("torch", "mlflow", "dvc", "prefect", "gymnasium", "mujoco", "onnx", "safetensors")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
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
