"""A bundle opens as what was written, and is written whole or not at all."""

import hashlib
import json
import resource
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.reader import open_bundle
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.errors import BundleError, StorageError
from sacpipe.specs.env_spec import MAX_PERIOD_S, MIN_PERIOD_S
from sacpipe.specs.observation import Observation
from sacpipe.specs.terms import MAX_ACTION

FILES = ["contract.json", "golden.npz", "manifest.json", "policy.onnx"]


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWholeBundle:
    def test_opens_as_what_was_written(self, bundle, policy_onnx, golden, make_contract):
        opened = open_bundle(bundle)
        assert opened.contract == make_contract()
        assert opened.policy_onnx == policy_onnx
        assert opened.golden.observations.equals(golden.observations)
        assert opened.golden.noise is None
        np.testing.assert_array_equal(opened.golden.actions, golden.actions)

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

    def test_identical_parts_give_identical_bytes_in_any_folder(
        self, bundle, tmp_path, policy_onnx, golden, make_contract
    ):
        other = tmp_path / "elsewhere" / "named otherwise"
        assert write_bundle(other, policy_onnx, make_contract(), golden) == bundle_digest(bundle)
        for name in FILES:
            assert (other / name).read_bytes() == (bundle / name).read_bytes()

    def test_golden_does_not_depend_on_the_memory_layout_of_the_arrays(
        self, bundle, tmp_path, policy_onnx, golden, make_contract
    ):
        packed = golden.observations
        transposed = Observation(packed.layout, np.asfortranarray(packed.vector), {})
        other = Golden(transposed, np.asfortranarray(golden.actions))
        digest = write_bundle(tmp_path / "other", policy_onnx, make_contract(), other)
        assert digest == bundle_digest(bundle)

    def test_what_a_killed_writer_left_beside_it_goes(self, bundle, policy_onnx, golden, make_contract):
        for suffix in ("tmp", "old"):
            left = bundle.with_name(f".{bundle.name}.0123abcd.{suffix}")
            left.mkdir()
            (left / "policy.onnx").write_bytes(b"part")
        write_bundle(bundle, policy_onnx, make_contract(), golden)
        assert names(bundle.parent) == [bundle.name]

    def test_another_number_in_the_contract_is_another_bundle(
        self, bundle, tmp_path, policy_onnx, golden, make_contract
    ):
        contract = make_contract(control_period_s=float(np.nextafter(0.02, 1.0)))
        assert write_bundle(tmp_path / "other", policy_onnx, contract, golden) != bundle_digest(bundle)

    def test_opens_through_a_link_to_the_folder(self, bundle, tmp_path):
        (tmp_path / "current").symlink_to(bundle)
        assert open_bundle(tmp_path / "current").digest == bundle_digest(bundle)


@pytest.mark.slow
@given(period=st.floats(MIN_PERIOD_S, MAX_PERIOD_S), low=st.floats(-MAX_ACTION, -1e-300))
def test_contract_numbers_keep_every_bit(period, low, make_contract):
    action = [{"name": "gripper", "unit": "N", "low": low, "high": 0.1 + 0.2}]
    contract = make_contract(control_period_s=period, action=action)
    again = Contract.model_validate_json(json.dumps(contract.as_tree()))
    assert struct.pack("d", again.spec.control_period_s) == struct.pack("d", period)
    assert struct.pack("d", again.spec.action[0].low) == struct.pack("d", low)
    assert again == contract


class TestWriting:
    def test_an_existing_bundle_is_replaced(self, bundle, policy_onnx, golden, make_contract):
        contract = make_contract(max_episode_steps=7)
        write_bundle(bundle, policy_onnx, contract, golden)
        assert open_bundle(bundle).contract.spec.max_episode_steps == 7
        assert names(bundle.parent) == ["bundle"]

    def test_parts_that_do_not_fit_leave_the_old_bundle(self, bundle, policy_onnx, golden, make_contract):
        before = bundle_digest(bundle)
        short = Golden(golden.observations.rows(slice(2)), golden.actions[:2])
        with pytest.raises(BundleError, match=r"was not written: golden.npz: observation.left"):
            write_bundle(bundle, policy_onnx, make_contract(), short)
        assert open_bundle(bundle).digest == before
        assert names(bundle.parent) == ["bundle"]

    def test_a_disk_that_takes_no_more_leaves_the_old_bundle(
        self, bundle, policy_onnx, golden, make_contract
    ):
        before = bundle_digest(bundle)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
        try:
            with pytest.raises(StorageError):
                write_bundle(bundle, policy_onnx, make_contract(max_episode_steps=7), golden)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert open_bundle(bundle).digest == before
        assert names(bundle.parent) == ["bundle"]

    def test_a_folder_with_anything_else_is_never_replaced(
        self, tmp_path, policy_onnx, golden, make_contract
    ):
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "thesis.tex").write_text("years of work")
        with pytest.raises(BundleError, match="Choose another folder"):
            write_bundle(tmp_path / "home", policy_onnx, make_contract(), golden)
        assert names(tmp_path / "home") == ["thesis.tex"]

    def test_neither_a_file_nor_a_link_is_replaced(
        self, bundle, tmp_path, policy_onnx, golden, make_contract
    ):
        (tmp_path / "file").write_text("mine")
        (tmp_path / "link").symlink_to(bundle)
        for name in ("file", "link"):
            with pytest.raises(BundleError, match="expected a bundle or no folder"):
                write_bundle(tmp_path / name, policy_onnx, make_contract(), golden)

    def test_a_half_bundle_is_replaced(self, bundle, policy_onnx, golden, make_contract):
        (bundle / "policy.onnx").unlink()
        write_bundle(bundle, policy_onnx, make_contract(), golden)
        open_bundle(bundle)
