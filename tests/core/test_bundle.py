"""A bundle is written whole or not at all, opens as what was written, and refuses every damage."""

import hashlib
import io
import json
import os
import resource
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sacpipe.core.bundle import Contract, bundle_digest, open_bundle, write_bundle
from sacpipe.core.errors import BundleError, StorageError
from sacpipe.core.golden import Golden
from sacpipe.core.policy_graph import read_graph

FILES = ["contract.json", "golden.npz", "manifest.json", "policy.onnx"]


def make_policy() -> bytes:
    """Two observations to one action: clip(x0 - x1, -1, 1)."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["observation", "weight"], ["product"]),
            helper.make_node("Clip", ["product", "low", "high"], ["action"]),
        ],
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 1])],
        [
            numpy_helper.from_array(np.array([[1.0], [-1.0]], np.float32), "weight"),
            numpy_helper.from_array(np.array(-1.0, np.float32), "low"),
            numpy_helper.from_array(np.array(1.0, np.float32), "high"),
        ],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString(deterministic=True)


def make_golden() -> Golden:
    observations = np.array([[0.5, 0.25], [3.0, 1.0], [0.0, 9.0]], np.float32)
    return Golden(observations, np.array([[0.25], [1.0], [-1.0]], np.float32))


def make_tree(policy_onnx: bytes) -> dict:
    facts = read_graph(policy_onnx)
    terms = [{"name": name, "size": 1, "unit": "m", "source": f"sensor/{name}"} for name in ("left", "right")]
    return {
        "format_version": 1,
        "spec": {
            "task": "example/Reach-v0",
            "observation": terms,
            "action": [{"name": "gripper", "unit": "N", "low": -1.0, "high": 1.0}],
            "control_period_s": 0.02,
            "max_episode_steps": 100,
        },
        "onnx": {
            "input_name": "observation",
            "input_dtype": "float32",
            "output_name": "action",
            "output_dtype": "float32",
            "ir_version": facts.ir_version,
            "opset_version": facts.opset_version,
            "operators": list(facts.operators),
        },
        "parity": {"tolerance": 1e-5, "max_error": 1e-7, "synthetic_max_error": 1e-6, "num_observations": 9},
        "golden": {"tolerance": 1e-5, "num_steps": 3},
        "provenance": {"algorithm": "sac", "digests": {"policy": "ab" * 32, "params": "cd" * 32}},
    }


def make_contract(**spec) -> Contract:
    tree = make_tree(make_policy())
    return Contract.parse(tree | {"spec": tree["spec"] | spec})


@pytest.fixture
def bundle(tmp_path):
    write_bundle(tmp_path / "bundle", make_policy(), make_contract(), make_golden())
    return tmp_path / "bundle"


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def render(tree) -> bytes:
    return (json.dumps(tree, sort_keys=True, indent=2) + "\n").encode()


def reseal(bundle, name: str, data: bytes) -> None:
    """Replace a file and make the manifest agree, as whoever forges a bundle would."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (bundle / "manifest.json").write_bytes(render(manifest))


def reseal_contract(bundle, change) -> None:
    tree = json.loads((bundle / "contract.json").read_bytes())
    change(tree)
    reseal(bundle, "contract.json", render(tree))


class TestWholeBundle:
    def test_opens_as_what_was_written(self, bundle):
        opened = open_bundle(bundle)
        assert opened.contract == make_contract()
        assert opened.policy_onnx == make_policy()
        np.testing.assert_array_equal(opened.golden.observations, make_golden().observations)
        np.testing.assert_array_equal(opened.golden.actions, make_golden().actions)

    def test_holds_exactly_four_files(self, bundle):
        assert names(bundle) == FILES

    def test_digest_is_the_sha256_of_the_manifest(self, bundle):
        expected = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
        assert bundle_digest(bundle) == expected
        assert open_bundle(bundle).digest == expected

    def test_manifest_gives_size_and_sha256_of_every_other_file(self, bundle):
        entries = json.loads((bundle / "manifest.json").read_bytes())["files"]
        assert sorted(entries) == ["contract.json", "golden.npz", "policy.onnx"]
        for name, entry in entries.items():
            data = (bundle / name).read_bytes()
            assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}

    def test_identical_parts_give_identical_bytes_in_any_folder(self, bundle, tmp_path):
        other = tmp_path / "elsewhere" / "named otherwise"
        assert write_bundle(other, make_policy(), make_contract(), make_golden()) == bundle_digest(bundle)
        for name in FILES:
            assert (other / name).read_bytes() == (bundle / name).read_bytes()

    def test_golden_does_not_depend_on_the_memory_layout_of_the_arrays(self, bundle, tmp_path):
        golden = make_golden()
        transposed = Golden(np.asfortranarray(golden.observations), golden.actions)
        assert write_bundle(tmp_path / "other", make_policy(), make_contract(), transposed) == bundle_digest(
            bundle
        )

    def test_another_number_in_the_contract_is_another_bundle(self, bundle, tmp_path):
        contract = make_contract(control_period_s=float(np.nextafter(0.02, 1.0)))
        assert write_bundle(tmp_path / "other", make_policy(), contract, make_golden()) != bundle_digest(
            bundle
        )

    def test_opens_through_a_link_to_the_folder(self, bundle, tmp_path):
        (tmp_path / "current").symlink_to(bundle)
        assert open_bundle(tmp_path / "current").digest == bundle_digest(bundle)


@given(st.floats(min_value=5e-324, allow_infinity=False), st.floats(-1e300, -1e-300))
def test_contract_numbers_keep_every_bit(period, low):
    action = [{"name": "gripper", "unit": "N", "low": low, "high": 0.1 + 0.2}]
    contract = make_contract(control_period_s=period, action=action)
    again = Contract.model_validate_json(render(contract.as_tree()))
    assert struct.pack("d", again.spec.control_period_s) == struct.pack("d", period)
    assert struct.pack("d", again.spec.action[0].low) == struct.pack("d", low)
    assert again == contract


class TestWriting:
    def test_a_bundle_that_stands_there_is_replaced(self, bundle):
        contract = make_contract(max_episode_steps=7)
        write_bundle(bundle, make_policy(), contract, make_golden())
        assert open_bundle(bundle).contract.spec.max_episode_steps == 7
        assert names(bundle.parent) == ["bundle"]

    def test_parts_that_do_not_fit_leave_the_old_bundle(self, bundle):
        before = bundle_digest(bundle)
        short = Golden(make_golden().observations[:2], make_golden().actions[:2])
        with pytest.raises(BundleError, match=r"was not written: golden.npz: observations"):
            write_bundle(bundle, make_policy(), make_contract(), short)
        assert open_bundle(bundle).digest == before
        assert names(bundle.parent) == ["bundle"]

    def test_a_disk_that_takes_no_more_leaves_the_old_bundle(self, bundle):
        before = bundle_digest(bundle)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
        try:
            with pytest.raises(StorageError):
                write_bundle(bundle, make_policy(), make_contract(max_episode_steps=7), make_golden())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert open_bundle(bundle).digest == before
        assert names(bundle.parent) == ["bundle"]

    def test_a_folder_with_anything_else_is_never_replaced(self, tmp_path):
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "thesis.tex").write_text("years of work")
        with pytest.raises(BundleError, match="Choose another folder"):
            write_bundle(tmp_path / "home", make_policy(), make_contract(), make_golden())
        assert names(tmp_path / "home") == ["thesis.tex"]

    def test_neither_a_file_nor_a_link_is_replaced(self, bundle, tmp_path):
        (tmp_path / "file").write_text("mine")
        (tmp_path / "link").symlink_to(bundle)
        for name in ("file", "link"):
            with pytest.raises(BundleError, match="expected a bundle or nothing there"):
                write_bundle(tmp_path / name, make_policy(), make_contract(), make_golden())

    def test_a_half_bundle_is_replaced(self, bundle):
        (bundle / "policy.onnx").unlink()
        write_bundle(bundle, make_policy(), make_contract(), make_golden())
        open_bundle(bundle)


class TestDamagedFiles:
    @pytest.mark.parametrize("name", ["contract.json", "golden.npz", "policy.onnx"])
    @pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
    def test_a_flipped_bit_is_named_with_both_digests(self, bundle, name, share):
        data = bytearray((bundle / name).read_bytes())
        expected = hashlib.sha256(data).hexdigest()
        data[int(share * len(data))] ^= 1
        (bundle / name).write_bytes(data)
        found = hashlib.sha256(data).hexdigest()
        with pytest.raises(BundleError, match=f"{name}: expected SHA-256 {expected}, found {found}. Fetch"):
            open_bundle(bundle)

    def test_no_flipped_bit_of_the_manifest_passes(self, bundle):
        data = (bundle / "manifest.json").read_bytes()
        for index in range(len(data)):
            (bundle / "manifest.json").write_bytes(
                data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
            )
            with pytest.raises(BundleError):
                open_bundle(bundle)

    @pytest.mark.parametrize("name", ["contract.json", "golden.npz", "policy.onnx"])
    def test_a_truncated_file_is_named_with_both_sizes(self, bundle, name):
        size = (bundle / name).stat().st_size
        os.truncate(bundle / name, size - 1)
        with pytest.raises(BundleError, match=f"{name}: expected {size} bytes, found {size - 1}"):
            open_bundle(bundle)

    @pytest.mark.parametrize("size", [0, 1, 100])
    def test_a_truncated_manifest_is_no_json(self, bundle, size):
        os.truncate(bundle / "manifest.json", size)
        with pytest.raises(BundleError, match=r"manifest.json: expected JSON"):
            open_bundle(bundle)

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_beyond_its_largest_size_is_not_read(self, bundle, name):
        os.truncate(bundle / name, 2**40)
        with pytest.raises(BundleError, match=rf"{name}: expected at most \d+ bytes, found {2**40}"):
            open_bundle(bundle)

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file_is_named(self, bundle, name):
        (bundle / name).unlink()
        with pytest.raises(BundleError, match=f"{name}: missing. Fetch the bundle again"):
            open_bundle(bundle)

    @pytest.mark.parametrize("name", [".hidden", "policy.onnx.data", "manifest.sig"])
    def test_an_extra_file_is_refused(self, bundle, name):
        (bundle / name).write_bytes(b"")
        with pytest.raises(BundleError, match=f"{name}: expected no such file"):
            open_bundle(bundle)

    @pytest.mark.parametrize("name", FILES)
    def test_a_link_is_refused_even_to_the_right_bytes(self, bundle, tmp_path, name):
        (bundle / name).rename(tmp_path / name)
        (bundle / name).symlink_to(tmp_path / name)
        with pytest.raises(BundleError, match=f"{name}: expected a plain file, found a link"):
            open_bundle(bundle)

    def test_a_pipe_is_refused_without_waiting(self, bundle):
        (bundle / "policy.onnx").unlink()
        os.mkfifo(bundle / "policy.onnx")
        with pytest.raises(BundleError, match=r"policy.onnx: expected a plain file, found something else"):
            open_bundle(bundle)

    def test_a_missing_folder_and_a_file_in_its_place_are_refused(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        for name in ("nothing", "file"):
            with pytest.raises(BundleError, match=f"bundle .*{name}: expected a folder of 4 files"):
                open_bundle(tmp_path / name)

    def test_the_digest_of_a_folder_without_manifest_is_refused(self, tmp_path):
        with pytest.raises(BundleError, match=r"manifest.json: cannot be read"):
            bundle_digest(tmp_path)


class TestForgedJson:
    @pytest.mark.parametrize("version", [0, 2, "1", True, None])
    def test_another_version_is_refused_with_what_to_do(self, bundle, version):
        expected = f"expected format_version 1, found {version!r}. Upgrade sacpipe"
        reseal_contract(bundle, lambda tree: tree.update(format_version=version))
        with pytest.raises(BundleError, match=f"contract.json: {expected}"):
            open_bundle(bundle)
        manifest = json.loads((bundle / "manifest.json").read_bytes())
        (bundle / "manifest.json").write_bytes(render(manifest | {"format_version": version}))
        with pytest.raises(BundleError, match=f"manifest.json: {expected}"):
            open_bundle(bundle)

    def test_an_unknown_key_is_named(self, bundle):
        reseal_contract(bundle, lambda tree: tree["spec"].update(frame="world"))
        with pytest.raises(BundleError, match=r"contract.json: spec.frame: Extra inputs are not permitted"):
            open_bundle(bundle)

    def test_a_missing_key_is_named(self, bundle):
        reseal_contract(bundle, lambda tree: tree["spec"].pop("control_period_s"))
        with pytest.raises(BundleError, match=r"contract.json: spec.control_period_s: Field required"):
            open_bundle(bundle)

    def test_a_fourth_or_an_absent_entry_of_the_manifest_is_refused(self, bundle):
        manifest = json.loads((bundle / "manifest.json").read_bytes())
        entry = manifest["files"].pop("golden.npz")
        for name in (None, "../golden.npz"):
            files = manifest["files"] | ({name: entry} if name else {})
            (bundle / "manifest.json").write_bytes(render(manifest | {"files": files}))
            with pytest.raises(BundleError, match=r"manifest.json: files"):
                open_bundle(bundle)

    def test_a_parity_error_above_its_bound_is_refused(self, bundle):
        reseal_contract(bundle, lambda tree: tree["parity"].update(max_error=1.0))
        with pytest.raises(BundleError, match=r"max_error 1.0 is above the tolerance"):
            open_bundle(bundle)

    def test_a_digest_that_is_none_is_refused(self, bundle):
        reseal_contract(bundle, lambda tree: tree["provenance"]["digests"].update(policy="AB" * 32))
        with pytest.raises(BundleError, match=r"contract.json: provenance.digests.policy"):
            open_bundle(bundle)

    @pytest.mark.parametrize("text", [b"\xff", b"[" * 50_000, b"3", b'{"format_version": 1'])
    def test_what_is_no_json_object_is_refused(self, bundle, text):
        reseal(bundle, "contract.json", text)
        with pytest.raises(BundleError, match=r"contract.json: expected"):
            open_bundle(bundle)

    def test_infinity_is_refused(self, bundle):
        reseal_contract(bundle, lambda tree: tree["spec"]["action"][0].update(high=float("inf")))
        with pytest.raises(BundleError, match=r"contract.json: "):
            open_bundle(bundle)

    def test_a_key_given_twice_is_refused(self, bundle):
        text = (bundle / "contract.json").read_bytes()
        reseal(
            bundle, "contract.json", text.replace(b'"high": 1.0,', b'"high": 50.0,\n          "high": 1.0,')
        )
        with pytest.raises(
            BundleError, match=r"contract.json: expected sorted, indented JSON with each key once"
        ):
            open_bundle(bundle)

    @pytest.mark.parametrize(
        ("field", "value"), [("opset_version", 19), ("ir_version", 9), ("operators", ["MatMul"])]
    )
    def test_a_contract_that_misstates_the_graph_is_refused(self, bundle, field, value):
        reseal_contract(bundle, lambda tree: tree["onnx"].update({field: value}))
        with pytest.raises(BundleError, match=f"policy.onnx: {field}: expected"):
            open_bundle(bundle)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(compression=zipfile.ZIP_STORED, **entries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, entry in entries.items():
            archive.writestr(f"{name}.npy", entry if isinstance(entry, bytes) else npy(entry))
    return buffer.getvalue()


def golden_arrays(**changes) -> dict:
    golden = make_golden()
    return {"observations": golden.observations, "actions": golden.actions} | changes


def with_entry(name: str, index: int, value: float) -> np.ndarray:
    array = golden_arrays()[name].copy()
    array.flat[index] = value
    return array


class TestForgedGolden:
    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            (npz(**golden_arrays(actions=np.zeros((4, 1), np.float32))), r"expected float32 \(3, 1\)"),
            (
                npz(**golden_arrays(observations=np.zeros((3, 2)))),
                r"expected float32 \(3, 2\), found float64",
            ),
            (npz(**golden_arrays(actions=np.zeros((3, 1), ">f4"))), r"found >f4"),
            (npz(**golden_arrays(observations=np.zeros((2, 3), np.float32).T)), r"expected float32 \(3, 2\)"),
            (npz(**golden_arrays(actions=np.array([["a"], [1], [None]], object))), r"found object"),
            (npz(**golden_arrays(actions=with_entry("actions", 1, np.nan))), "NaN or infinity"),
            (npz(**golden_arrays(observations=with_entry("observations", 5, np.inf))), "NaN or infinity"),
            (npz(**golden_arrays(actions=with_entry("actions", 0, 1.5))), "within its term's low and high"),
            (npz(**golden_arrays(rewards=np.zeros(3))), "found actions.npy, observations.npy, rewards.npy"),
            (
                npz(actions=make_golden().actions),
                "expected actions.npy and observations.npy, found actions.npy",
            ),
            (npz(zipfile.ZIP_DEFLATED, **golden_arrays()), "expected an uncompressed entry"),
            (b"", "expected an archive of arrays"),
            (npz(**golden_arrays())[:-30], "expected an archive of arrays"),
            (
                npz(**golden_arrays()).replace(b"\x00\x00\x00\x3f", b"\x00\x00\x80\x3f", 1),
                "expected an archive",
            ),
        ],
    )
    def test_is_refused(self, bundle, data, sentence):
        reseal(bundle, "golden.npz", data)
        with pytest.raises(BundleError, match=f"golden.npz: .*{sentence}"):
            open_bundle(bundle)

    def test_a_header_that_announces_terabytes_allocates_nothing(self, bundle):
        announced = b"(9999999999999, 1), }"
        actions = npy(make_golden().actions).replace(b"(3, 1), }".ljust(len(announced)), announced)
        reseal(bundle, "golden.npz", npz(observations=make_golden().observations, actions=actions))
        with pytest.raises(
            BundleError, match=r"expected float32 \(3, 1\), found float32 \(9999999999999, 1\)"
        ):
            open_bundle(bundle)
