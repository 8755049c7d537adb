"""A bundle refuses every damage, and says which file, what was expected, what was found and what to do."""

import hashlib
import json
import os

import pytest

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import BundleError

FILES = ["contract.json", "golden.npz", "manifest.json", "policy.onnx"]


def render(tree) -> bytes:
    return (json.dumps(tree, sort_keys=True, indent=2) + "\n").encode()


def reseal(bundle, name: str, data: bytes) -> None:
    """Replace a file and update the manifest, as an attacker would."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (bundle / "manifest.json").write_bytes(render(manifest))


def reseal_contract(bundle, change) -> None:
    tree = json.loads((bundle / "contract.json").read_bytes())
    change(tree)
    reseal(bundle, "contract.json", render(tree))


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

    @pytest.mark.parametrize("name", [".hidden", "policy.onnx.data", "manifest.sig.old"])
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
    @pytest.mark.parametrize("version", [0, 1, 2, "3", True, None])
    def test_another_version_is_refused_with_what_to_do(self, bundle, version):
        expected = f"expected format_version 3, found {version!r}. Upgrade sacpipe"
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

    @pytest.mark.parametrize("key", ["parity", "host", "processor", "exported_at", "release"])
    def test_a_section_about_the_export_is_refused(self, bundle, key):
        reseal_contract(bundle, lambda tree: tree.update({key: "x86"}))
        with pytest.raises(BundleError, match=f"contract.json: {key}: Extra inputs are not permitted"):
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
