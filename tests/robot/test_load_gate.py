"""The gate lets a whole bundle pass with what it measured, and names the rule that refuses any other."""

import hashlib
import json

import numpy as np
import pytest
from bundle_factories import make_bundle, make_onnx, make_spec
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError
from robot_fixtures import make_model

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.protobuf import MAX_FIELDS
from sacpipe.bundle.signature import key_id, make_key, sign_bundle
from sacpipe.core.errors import BundleError, GateError
from sacpipe.robot import load_gate as gate_module
from sacpipe.robot.load_gate import LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout.sources import read_source

OBSERVATION = {"position": np.float32([0.5, 0.25]), "velocity": np.float32([0.0])}
RULES = [
    "files",
    "links",
    "size",
    "signature",
    "manifest",
    "digest",
    "contract",
    "graph",
    "terms",
    "tensors",
    "golden",
    "runtime",
    "timing",
]


def settings(**changes) -> LoadGateSettings:
    tree = {"public_keys": [], "require_signature": False, "allowed_operators": None, "timing_runs": 200}
    return LoadGateSettings.parse(tree | changes)


def check(folder, **changes):
    return run_load_gate(read_source(folder, allow_hard_links=False), settings(**changes))


def refused(folder, rule, **changes) -> str:
    with pytest.raises(GateError) as refusal:
        check(folder, **changes)
    assert refusal.value.rule == rule
    assert f"refused by the rule '{rule}': " in str(refusal.value)
    return str(refusal.value)


def render(tree) -> bytes:
    return (json.dumps(tree, sort_keys=True, indent=2) + "\n").encode()


def reseal(folder, name: str, data: bytes) -> None:
    """Replace a file and make the manifest agree, as an attacker who forges a bundle."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (folder / "manifest.json").write_bytes(render(manifest))


def reseal_contract(folder, section: str, **changes) -> None:
    tree = json.loads((folder / "contract.json").read_bytes())
    tree[section] |= changes
    reseal(folder, "contract.json", render(tree))


def test_the_checks_draw_none_of_a_stochastic_policys_noise(tmp_path):
    """So the episodes of a bundle are the same, whether a gate was before them or not."""
    spec = make_spec(1, bounds=((-9.0, 9.0),))
    model = make_onnx([[1.0], [1.0]], terms={"state": 1, "noise": 1})
    folder = make_bundle(tmp_path / "noisy", model, spec, [[0.5]], [[0.5]], noise=[[0.0]])
    given = {"state": np.float32([0.5])}
    expected = [OnnxPolicy(folder).act(given)]
    for policy in (OnnxPolicy(folder), check(folder).policy, check(folder).policy):
        assert [policy.act(given)] == expected


class TestPassing:
    def test_the_report_says_what_was_found(self, build):
        folder = build(actions=[[1.25, 2.5], [3.0, 4.0 - 8.0 * 5e-6], [-2.0, -4.0]])
        report = check(folder).report
        assert report.bundle_digest == bundle_digest(folder)
        assert [item.rule for item in report.rules] == RULES
        skipped = [item.rule for item in report.rules if item.outcome == "not_checked"]
        assert (skipped, report.key_id) == (["signature"], None)
        assert report.golden_error == pytest.approx(5e-6, rel=0.05)
        assert 0 < report.p99_us < report.deadline_us == pytest.approx(0.8 * 20_000)

    def test_the_policy_acts_from_the_bytes_that_were_checked(self, build):
        folder = build()
        files = read_source(folder, allow_hard_links=False)
        (folder / "policy.onnx").write_bytes(b"changed after it was read")
        admitted = run_load_gate(files, settings())
        assert admitted.policy.act(OBSERVATION).tolist() == [1.25, 2.5]
        assert admitted.files is files
        assert admitted.bundle.policy_onnx == files["policy.onnx"]
        assert admitted.bundle.digest == admitted.report.bundle_digest

    def test_a_task_without_a_clock_has_no_deadline(self, build):
        folder = build()
        reseal_contract(folder, "spec", control_period_s=None)
        report = check(folder).report
        assert report.deadline_us is None
        assert report.p99_us > 0
        assert report.rules[-1].outcome == "not_checked"

    def test_a_signature_by_a_trusted_key(self, build, tmp_path):
        public = make_key(tmp_path / "key")
        sign_bundle(build(), tmp_path / "key")
        report = check(tmp_path / "bundle", public_keys=[public], require_signature=True).report
        assert report.key_id == key_id(public)
        assert {item.outcome for item in report.rules} == {"passed"}

    def test_a_signature_is_not_checked_where_no_key_is_trusted(self, build, tmp_path):
        make_key(tmp_path / "key")
        sign_bundle(build(), tmp_path / "key")
        report = check(tmp_path / "bundle").report
        assert (report.key_id, report.rules[3].outcome) == (None, "not_checked")

    def test_the_operators_it_has_may_be_the_only_ones_allowed(self, build):
        check(build(), allowed_operators=["Add", "Concat", "MatMul", "Max", "Min"])


class TestSignature:
    @pytest.fixture
    def public(self, tmp_path):
        return make_key(tmp_path / "key")

    @pytest.mark.parametrize("require_signature", [False, True])
    def test_missing_where_a_key_is_trusted(self, build, public, require_signature):
        changes = {"public_keys": [public], "require_signature": require_signature}
        message = refused(build(), "signature", **changes)
        assert "manifest.sig: missing; expected a signature" in message

    @pytest.mark.parametrize("require_signature", [False, True])
    def test_stripped_off(self, build, tmp_path, public, require_signature):
        changes = {"public_keys": [public], "require_signature": require_signature}
        sign_bundle(build(), tmp_path / "key")
        check(tmp_path / "bundle", **changes)
        (tmp_path / "bundle" / "manifest.sig").unlink()
        refused(tmp_path / "bundle", "signature", **changes)

    def test_empty(self, build, tmp_path, public):
        (build() / "manifest.sig").write_bytes(b"")
        refused(tmp_path / "bundle", "signature", public_keys=[public])

    def test_by_another_key_even_where_none_is_required(self, build, tmp_path, public):
        make_key(tmp_path / "other.key")
        sign_bundle(build(), tmp_path / "other.key")
        message = refused(tmp_path / "bundle", "signature", public_keys=[public])
        assert f"expected a signature by one of {key_id(public)}, found" in message

    def test_of_a_bundle_that_was_forged_afterwards(self, build, tmp_path, public):
        sign_bundle(build(), tmp_path / "key")
        reseal_contract(tmp_path / "bundle", "golden", tolerance=0.005)
        check(tmp_path / "bundle")  # a manifest alone does not protect against an attacker who rewrites it
        message = refused(tmp_path / "bundle", "signature", public_keys=[public])
        assert "found a signature of other bytes" in message

    def test_is_asked_before_the_manifest_is_read(self, build, tmp_path, public):
        sign_bundle(build(), tmp_path / "key")
        (tmp_path / "bundle" / "manifest.json").write_bytes(b"{")
        refused(tmp_path / "bundle", "signature", public_keys=[public])

    def test_cannot_be_required_without_a_key(self):
        tree = settings().as_tree() | {"require_signature": True}
        with pytest.raises(ValidationError, match="require_signature needs at least one key"):
            LoadGateSettings.model_validate_json(json.dumps(tree))


class TestFiles:
    def test_a_manifest_that_is_no_json(self, build):
        folder = build()
        (folder / "manifest.json").write_bytes(b"{")
        assert "manifest.json: expected JSON" in refused(folder, "manifest")

    def test_a_version_that_is_not_known(self, build):
        folder = build()
        tree = json.loads((folder / "manifest.json").read_bytes()) | {"format_version": 9}
        (folder / "manifest.json").write_bytes(render(tree))
        assert "expected format_version 3, found 9" in refused(folder, "manifest")

    @pytest.mark.parametrize("name", ["contract.json", "golden.npz", "policy.onnx"])
    def test_a_flipped_bit(self, build, name):
        folder = build()
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        assert f"{name}: expected SHA-256" in refused(folder, "digest")

    @pytest.mark.parametrize("name", ["contract.json", "golden.npz", "policy.onnx"])
    def test_a_file_that_stops_too_early(self, build, name):
        folder = build()
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        assert f"{name}: expected" in refused(folder, "digest")

    def test_a_contract_with_an_unknown_key(self, build):
        folder = build()
        reseal_contract(folder, "spec", frame="world")
        assert "contract.json: spec.frame: Extra inputs" in refused(folder, "contract")


def external_data(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def sub_graph(model):
    model.graph.node[3].attribute.append(helper.make_attribute("then_branch", model.graph))


def foreign_operator(model):
    model.graph.node[3].op_type = "Loop"


def foreign_domain(model):
    model.opset_import[0].domain = "com.example"


def not_finite(model):
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.float32([1, np.nan]), "bias"))


def two_gigabytes(model):
    """A graph of 1 kB; onnxruntime would take the memory already when it loads the graph."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**29 // 3, 3]), "shape"))
    model.graph.node.append(helper.make_node("Expand", ["bias_row", "shape"], ["expanded"]))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 3), np.float32), "bias_row"))


def too_many_fields(model):
    model.graph.node[3].input.extend(["high"] * MAX_FIELDS)


def empty_input(model):
    """Onnxruntime 1.31 does not refuse this one: the process dies."""
    model.graph.node[4].input.append("")


class TestPolicies:
    """The graph is changed after the bundle was written, and all digests are made to agree."""

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (external_data, "the tensor holds data in another file"),
            (sub_graph, "the attribute holds a sub-graph"),
            (foreign_operator, "expected operators that docs/bundle.md lists, found 'Loop'"),
            (foreign_domain, "expected the standard operator domain, found 'com.example'"),
            (not_finite, "tensor 'bias': expected finite numbers, found NaN or infinity"),
            (empty_input, "expected a name for every input of 'Min', found an empty one"),
            (too_many_fields, f"expected at most {MAX_FIELDS} protobuf fields, found more"),
        ],
    )
    def test_a_graph_that_may_not_be(self, build, model, change, sentence):
        folder = build()
        change(model)
        reseal(folder, "policy.onnx", model.SerializeToString())
        assert f"policy.onnx: {sentence}" in refused(folder, "graph")

    def test_a_small_graph_that_takes_much_memory(self, build, model):
        folder = build()
        two_gigabytes(model)
        reseal(folder, "policy.onnx", model.SerializeToString())
        assert (folder / "policy.onnx").stat().st_size < 1024
        reseal_contract(folder, "onnx", operators=["Add", "Concat", "Expand", "MatMul", "Max", "Min"])
        assert "bytes for one observation, found more from 'Expand' on" in refused(folder, "graph")

    def test_a_contract_that_misstates_the_graph(self, build):
        folder = build()
        reseal_contract(folder, "onnx", operators=["MatMul"])
        assert "policy.onnx: operators: expected ('MatMul',)" in refused(folder, "graph")

    def test_an_operator_that_is_not_allowed_here(self, build):
        message = refused(build(), "graph", allowed_operators=["MatMul", "Min"])
        assert "expected only the operators allowed here, MatMul, Min; found Add, Concat, Max." in message

    @pytest.mark.parametrize(
        ("names", "tensor"),
        [
            ({"terms": {"pose": 2, "velocity": 1}}, "input 0 'position'"),
            ({"terms": {"velocity": 1, "position": 2}}, "input 0 'position'"),
            ({"output": "actions"}, "output 0 'action'"),
            ({"batch": 1}, "input 0 'position'"),
        ],
    )
    def test_other_names_or_shapes(self, build, names, tensor):
        folder = build()
        reseal(folder, "policy.onnx", make_model(**names).SerializeToString())
        assert f"policy.onnx: expected {tensor}" in refused(folder, "tensors")

    def test_another_width_than_the_contracts(self, build, model):
        folder = build()
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((5, 2), np.float32), "weight"))
        reseal(folder, "policy.onnx", model.SerializeToString())
        message = refused(folder, "tensors")
        assert "expected input 0 'position', float32 ['batch', 2], found" in message

    def test_what_onnxruntime_cannot_read(self, build, model):
        model.opset_import[0].version = 99
        assert "onnxruntime" in refused(build(model), "tensors")

    def test_golden_actions_of_another_policy(self, build):
        message = refused(build(actions=[[1.25, 2.5], [3.0, 4.0], [-2.0, -3.9]]), "golden")
        assert "golden.npz: step 2, action 'elbow': expected -3.9" in message

    def test_an_action_outside_its_bounds_in_the_replay(self, build, model):
        model.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.float32([-3, -4]), "low"))
        assert "[-3.0, -4.0]; expected finite values" in refused(build(model), "golden")

    def test_golden_steps_that_are_not_there(self, build):
        folder = build()
        reseal_contract(folder, "golden", num_steps=4)
        assert "golden.npz: observation.position: expected float32 (4, 2)" in refused(folder, "golden")

    def test_a_policy_too_slow_for_its_clock(self, build):
        folder = build()
        reseal_contract(folder, "spec", control_period_s=1e-9)
        message = refused(folder, "timing")
        assert "expected 99 of 100 actions within 0.0008 us on this machine, found" in message
        assert "in 200 runs" in message

    def test_an_error_without_a_rule_is_one_of_the_contract(self, build, monkeypatch):
        def refuse(*_):
            raise BundleError("it cannot be used.")

        monkeypatch.setattr(gate_module, "check_terms", refuse)
        assert refused(build(), "contract") == "refused by the rule 'contract': it cannot be used."


class Clock:
    """Makes the actions take 1, 2, 3 ... microseconds, the slowest first."""

    def __init__(self, num_actions):
        times_ns = [1000 * number for number in range(num_actions, 0, -1)]
        self.readings_ns = iter([reading for time_ns in times_ns for reading in (0, time_ns)])

    def perf_counter_ns(self):
        return next(self.readings_ns)


class TestTiming:
    @pytest.mark.parametrize(
        ("timing_runs", "p99_us"), [(100, 99.0), (150, 149.0), (200, 198.0), (1000, 990.0)]
    )
    def test_99_of_100_actions_take_at_most_the_time_of_the_report(
        self, build, monkeypatch, timing_runs, p99_us
    ):
        monkeypatch.setattr(gate_module, "time", Clock(timing_runs))
        assert check(build(), timing_runs=timing_runs).report.p99_us == p99_us

    def test_a_time_that_was_measured_elsewhere_is_the_reports(self, build):
        files = read_source(build(), allow_hard_links=False)
        assert run_load_gate(files, settings(), p99_us=123.5).report.p99_us == 123.5

    def test_the_deadline_itself_is_too_late(self, build):
        files = read_source(build(), allow_hard_links=False)
        report = run_load_gate(files, settings(), p99_us=15_999.9).report
        assert (report.p99_us, report.deadline_us) == (15_999.9, 16_000.0)
        with pytest.raises(GateError) as refusal:
            run_load_gate(files, settings(), p99_us=16_000.0)
        assert str(refusal.value) == (
            "refused by the rule 'timing': expected 99 of 100 actions within 16000 us on this machine, found 16000 us "
            "in 200 runs. Use a smaller network, a longer control period or a faster machine."
        )

    def test_a_deadline_is_not_checked_where_none_has_to_be_met(self, build):
        files = read_source(build(), allow_hard_links=False)
        report = run_load_gate(files, settings(), p99_us=16_000.0, is_realtime=False).report
        assert (report.p99_us, report.deadline_us) == (16_000.0, None)
        skipped = [item.rule for item in report.rules if item.outcome == "not_checked"]
        assert skipped == ["signature", "timing"]
