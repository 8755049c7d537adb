"""A bundle can be signed; every byte that differs, and every key that is not trusted, is refused."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.reader import open_bundle
from sacpipe.bundle.signature import key_id, make_key, read_public_key, sign_bundle, verify_signature
from sacpipe.core.errors import BundleError, ConfigError, StorageError


@pytest.fixture
def key(tmp_path):
    """A private key's file and its public half."""
    return tmp_path / "robot.key", make_key(tmp_path / "robot.key")


@pytest.fixture
def signed(bundle, key):
    """A signed bundle: the bytes of its manifest and of its signature."""
    sign_bundle(bundle, key[0])
    return (bundle / "manifest.json").read_bytes(), (bundle / "manifest.sig").read_bytes()


class TestKeys:
    def test_the_private_key_is_the_owners_alone_and_nothing_else_is_left(self, tmp_path, key):
        assert stat.S_IMODE(key[0].stat().st_mode) == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["robot.key"]
        assert read_public_key(key[0]) == key[1]

    def test_a_key_is_never_replaced(self, key):
        before = key[0].read_bytes()
        with pytest.raises(ConfigError, match=r"robot.key: expected no file, found one"):
            make_key(key[0])
        assert key[0].read_bytes() == before

    def test_two_keys_differ(self, tmp_path, key):
        other = make_key(tmp_path / "other.key")
        assert len({other, key[1]}) == len({key_id(other), key_id(key[1])}) == 2

    @pytest.mark.parametrize("data", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
    def test_what_is_no_key_is_refused(self, bundle, tmp_path, data):
        (tmp_path / "bad.key").write_bytes(data)
        with pytest.raises(ConfigError, match=r"bad.key: expected an Ed25519 private key, found none"):
            sign_bundle(bundle, tmp_path / "bad.key")

    def test_a_key_of_another_kind_is_refused(self, bundle, tmp_path):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

        pem = generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (tmp_path / "ec.key").write_bytes(pem)
        with pytest.raises(ConfigError, match=r"ec.key: expected an Ed25519 private key, found EC"):
            sign_bundle(bundle, tmp_path / "ec.key")

    def test_a_missing_key_is_refused(self, bundle, tmp_path):
        with pytest.raises(ConfigError, match=r"no.key: expected an Ed25519 private key, found none"):
            sign_bundle(bundle, tmp_path / "no.key")

    def test_the_reason_is_the_first_line_of_the_librarys(self, bundle, tmp_path):
        with pytest.raises(ConfigError) as missing:
            sign_bundle(bundle, tmp_path / "no.key")
        assert str(missing.value).endswith(
            f"found none: [Errno 2] No such file or directory: '{tmp_path / 'no.key'}'."
        )
        with pytest.raises(ConfigError) as malformed:
            sign_bundle(bundle, bundle / "policy.onnx")
        assert re.fullmatch(r".*: expected an Ed25519 private key, found none: \w.+\.", str(malformed.value))

    def test_a_reason_of_two_lines_is_cut(self, bundle, key, monkeypatch):
        def fail(path):
            raise OSError("first\nsecond")

        monkeypatch.setattr(Path, "read_bytes", fail)
        with pytest.raises(ConfigError, match=r"found none: first\.$"):
            sign_bundle(bundle, key[0])

    def test_a_key_is_hidden_beside_its_place_until_it_is_whole(self, tmp_path, monkeypatch):
        """In a folder of mode 0700 on the same disk, so that the rename is one step."""
        seen = []
        replace = Path.replace

        def watched(self, target):
            seen.append((self, stat.S_IMODE(self.parent.stat().st_mode)))
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", watched)
        make_key(tmp_path / "keys" / "arm.key")
        written, mode = seen[-1]
        assert (written.parent.parent, mode) == (tmp_path / "keys", 0o700)
        assert written.parent.name.startswith(".arm.key.")

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(
            StorageError, match=rf"cannot write {tmp_path / 'file' / 'arm.key'}: a file exists"
        ):
            make_key(tmp_path / "file" / "arm.key")


class TestSigning:
    def test_the_bundle_opens_and_keeps_its_digest(self, bundle, key):
        before = bundle_digest(bundle)
        assert open_bundle(bundle).signature is None
        assert sign_bundle(bundle, key[0]) == key_id(key[1])
        opened = open_bundle(bundle)
        assert opened.digest == before
        assert opened.signature == (bundle / "manifest.sig").read_bytes()

    def test_the_file_is_one_line_of_sorted_json(self, signed, key):
        tree = json.loads(signed[1])
        assert signed[1] == (json.dumps(tree, sort_keys=True, separators=(",", ":")) + "\n").encode()
        assert (tree["format_version"], tree["key_id"]) == (1, key_id(key[1]))

    def test_signing_again_gives_the_same_bytes(self, bundle, key, signed):
        sign_bundle(bundle, key[0])
        assert (bundle / "manifest.sig").read_bytes() == signed[1]

    def test_another_key_replaces_the_signature(self, bundle, tmp_path, signed):
        other = make_key(tmp_path / "other.key")
        sign_bundle(bundle, tmp_path / "other.key")
        assert verify_signature(signed[0], (bundle / "manifest.sig").read_bytes(), (other,)) == key_id(other)

    def test_what_a_killed_signing_left_goes(self, bundle, key):
        (bundle / ".manifest.sig.0123.tmp").write_bytes(b"half")
        sign_bundle(bundle, key[0])
        open_bundle(bundle)

    def test_a_damaged_bundle_is_not_signed(self, bundle, key):
        os.truncate(bundle / "policy.onnx", 3)
        with pytest.raises(BundleError, match=r"policy.onnx: expected \d+ bytes, found 3"):
            sign_bundle(bundle, key[0])
        assert not (bundle / "manifest.sig").exists()

    def test_the_broken_rule_is_kept(self, bundle, key):
        (bundle / "policy.onnx").write_bytes(b"")
        with pytest.raises(BundleError, match=f"bundle {bundle} was not signed: policy.onnx") as refusal:
            sign_bundle(bundle, key[0])
        assert refusal.value.rule == "digest"

    def test_a_leftover_that_cannot_be_removed_is_named(self, bundle, key):
        (bundle / ".manifest.sig.1.tmp").mkdir()
        with pytest.raises(StorageError, match=f"cannot write {bundle}: "):
            sign_bundle(bundle, key[0])


class TestVerifying:
    def test_a_trusted_key_is_found_among_others(self, tmp_path, key, signed):
        other = make_key(tmp_path / "other.key")
        assert verify_signature(*signed, (other, key[1])) == key_id(key[1])

    def test_no_flipped_bit_of_either_file_passes(self, key, signed):
        for which in (0, 1):
            for index in range(len(signed[which])):
                for bit in (1, 32):  # 32 changes the case of a letter
                    pair = [bytearray(data) for data in signed]
                    pair[which][index] ^= bit
                    with pytest.raises(BundleError) as refusal:
                        verify_signature(bytes(pair[0]), bytes(pair[1]), (key[1],))
                    assert refusal.value.rule == "signature"

    def test_another_manifest_is_named(self, key, signed):
        expected = f"expected a signature by {key_id(key[1])} of this manifest.json"
        with pytest.raises(BundleError, match=f"sig: {expected}, found a signature of other bytes. Fetch"):
            verify_signature(signed[0] + b" ", signed[1], (key[1],))

    def test_a_key_that_is_not_trusted_is_named(self, tmp_path, key, signed):
        other = make_key(tmp_path / "other.key")
        expected = f"expected a signature by one of {key_id(other)}, found {key_id(key[1])}"
        with pytest.raises(BundleError, match=expected):
            verify_signature(*signed, (other,))
        both = sorted([key_id(other), key_id(make_key(tmp_path / "third.key"))])
        with pytest.raises(BundleError, match=f"expected a signature by one of {both[0]}, {both[1]}, found"):
            verify_signature(*signed, (other, read_public_key(tmp_path / "third.key")))

    def test_a_foreign_key_does_not_pass_under_a_trusted_keys_id(self, bundle, tmp_path, key, signed):
        make_key(tmp_path / "other.key")
        sign_bundle(bundle, tmp_path / "other.key")
        tree = json.loads((bundle / "manifest.sig").read_bytes()) | {"key_id": key_id(key[1])}
        forged = (json.dumps(tree, sort_keys=True, separators=(",", ":")) + "\n").encode()
        with pytest.raises(BundleError, match=r"found a signature of other bytes"):
            verify_signature(signed[0], forged, (key[1],))

    def test_a_signature_of_the_bare_manifest_is_none_of_a_bundle(self, key, signed):
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        bare = load_pem_private_key(key[0].read_bytes(), None).sign(signed[0]).hex()
        tree = json.loads(signed[1]) | {"signature": bare}
        forged = (json.dumps(tree, sort_keys=True, separators=(",", ":")) + "\n").encode()
        with pytest.raises(BundleError, match=r"found a signature of other bytes"):
            verify_signature(signed[0], forged, (key[1],))

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"format_version": 2}, "format_version: Input should be 1"),
            ({"key_id": "AB" * 8}, "key_id: String should match"),
            ({"signature": "ab"}, "signature: String should match"),
            ({"until": "2030"}, "until: Extra inputs"),
        ],
    )
    def test_a_wrong_field_is_named(self, key, signed, change, sentence):
        wrong = json.dumps(json.loads(signed[1]) | change).encode()
        with pytest.raises(BundleError, match=f"manifest.sig: {sentence}"):
            verify_signature(signed[0], wrong, (key[1],))

    def test_another_form_of_the_same_json_is_refused(self, key, signed):
        with pytest.raises(BundleError, match=r"manifest.sig: expected sorted JSON on one line"):
            verify_signature(signed[0], json.dumps(json.loads(signed[1]), indent=2).encode(), (key[1],))

    @pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"[" * 1000])
    def test_what_is_no_json_object_is_refused(self, key, signed, data):
        with pytest.raises(BundleError, match=r"manifest.sig: the file: "):
            verify_signature(signed[0], data, (key[1],))


@pytest.mark.slow
def test_bundles_need_no_cryptography_and_signatures_say_so(bundle, key):
    """In a process that cannot import it."""
    code = """
import sys
from pathlib import Path
sys.modules["cryptography"] = None
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import ConfigError
from sacpipe.bundle.signature import sign_bundle
open_bundle(Path(sys.argv[1]))
try:
    sign_bundle(Path(sys.argv[1]), Path(sys.argv[2]))
except ConfigError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, bundle, key[0]], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "signatures need the package `cryptography`" in done.stdout
    assert "pip install sacpipe[serve]" in done.stdout
