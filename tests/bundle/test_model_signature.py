"""A bundle's model.sig keeps to OpenSSF Model Signing 1.0, and `check` refuses every other."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jsonschema import Draft202012Validator

from sacpipe.bundle import model_signature
from sacpipe.bundle.files import REQUIRED, bundle_digest, read_files
from sacpipe.bundle.model_signature import read_statement, sign_model, verify_model
from sacpipe.bundle.reader import open_bundle
from sacpipe.bundle.signature import make_key, sign_bundle
from sacpipe.cli.main import main
from sacpipe.core.errors import BundleError, ConfigError

OPENSSF = Path(__file__).parent / "openssf"
SCHEMAS = {
    path.name.partition(".")[0]: json.loads(path.read_text()) for path in OPENSSF.glob("*.schema.json")
}
VECTORS = sorted(path.name for path in OPENSSF.glob("*.bundle.json"))
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


def write_keys(folder, key, encryption=None):
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path):
    """The PEM files of a private key on P-256 and of its public key."""
    return write_keys(tmp_path, ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def signed(bundle, keys):
    sign_model(bundle, keys[0])
    return read_files(bundle)


def read_payload(signature):
    return json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))


def root_of(resources):
    return hashlib.sha256(b"".join(bytes.fromhex(found["digest"]) for found in resources)).hexdigest()


def resigned(bundle, private, monkeypatch, change):
    """The files with a signature by the right key of another statement."""
    render = model_signature.canonical_json
    monkeypatch.setattr(model_signature, "canonical_json", lambda tree: render(change(tree) or tree))
    sign_model(bundle, private)
    return read_files(bundle)


class TestSigning:
    def test_the_file_keeps_to_the_schemas(self, signed):
        for name, tree in (
            ("bundle", json.loads(signed["model.sig"])),
            ("statement", read_payload(signed["model.sig"])),
        ):
            schema = SCHEMAS[name]  # the others, which it names by `$id`, lie among its definitions
            Draft202012Validator(schema | {"$defs": schema["$defs"] | SCHEMAS}).validate(tree)

    def test_digest_and_other_signature_stay_in_either_order(self, bundle, tmp_path, keys):
        make_key(tmp_path / "robot.key")
        before = bundle_digest(bundle)
        sign_bundle(bundle, tmp_path / "robot.key")
        alone = read_files(bundle)
        sign_model(bundle, keys[0])
        sign_bundle(bundle, tmp_path / "robot.key")
        both = read_files(bundle)
        assert {name: both[name] for name in alone} == alone
        assert open_bundle(bundle).digest == bundle_digest(bundle) == before
        verify_model(both, keys[1])

    def test_the_four_files_are_signed(self, bundle, signed, keys):
        names = [resource["name"] for resource in read_payload(signed["model.sig"])["predicate"]["resources"]]
        assert names == sorted(REQUIRED) == ["contract.json", "golden.npz", "manifest.json", "policy.onnx"]
        digests = [hashlib.sha256(signed[name]).digest() for name in names]
        root = hashlib.sha256(b"".join(digests)).hexdigest()
        assert read_payload(signed["model.sig"])["subject"] == [
            {"name": bundle.name, "digest": {"sha256": root}}
        ]
        tree = json.loads(signed["model.sig"])
        assert tree["verificationMaterial"].keys() == {"publicKey", "tlogEntries"}
        assert tree["verificationMaterial"]["tlogEntries"] == []
        assert tree["dsseEnvelope"]["signatures"][0]["keyid"] == ""

    @pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
    def test_signing_again_gives_the_same_bytes(self, bundle, tmp_path, curve):
        private, public = write_keys(tmp_path, ec.generate_private_key(curve))
        key_id = sign_model(bundle, private)
        before = read_files(bundle)
        sign_model(bundle, private)
        assert read_files(bundle) == before
        assert verify_model(before, public) == key_id

    def test_a_damaged_bundle_is_not_signed_and_leftovers_go(self, bundle, keys):
        (bundle / ".model.sig.1.tmp").write_bytes(b"half")
        (bundle / "golden.npz").write_bytes(b"")
        with pytest.raises(BundleError, match=r"was not signed: golden.npz: expected \d+ bytes, found 0"):
            sign_model(bundle, keys[0])
        assert {path.name for path in bundle.iterdir()} == REQUIRED


class TestVerifying:
    @pytest.mark.parametrize("name", sorted(REQUIRED))
    def test_a_changed_file_is_named(self, signed, keys, name):
        with pytest.raises(BundleError, match=f"model.sig: {name}: expected SHA-256 ") as refusal:
            verify_model(signed | {name: signed[name] + b" "}, keys[1])
        assert refusal.value.rule == "signature"

    @pytest.mark.parametrize("part", ["payload", "sig"])
    def test_no_changed_byte_of_the_envelope_passes(self, signed, keys, part):
        tree = json.loads(signed["model.sig"])
        holder = tree["dsseEnvelope"] if part == "payload" else tree["dsseEnvelope"]["signatures"][0]
        data = base64.b64decode(holder[part])
        for index in range(0, len(data), 7 if part == "payload" else 1):
            changed = bytearray(data)
            changed[index] ^= 1
            holder[part] = base64.b64encode(changed).decode()
            with pytest.raises(BundleError, match=r"found one of other bytes"):
                verify_model(signed | {"model.sig": json.dumps(tree).encode()}, keys[1])

    def test_another_key_is_refused(self, signed, keys, tmp_path):
        other = write_keys(tmp_path, ec.generate_private_key(ec.SECP256R1()))[1]
        with pytest.raises(BundleError, match=r"model.sig: expected [0-9a-f]{64}, found [0-9a-f]{64}"):
            verify_model(signed, other)

    def test_a_missing_signature_is_refused(self, bundle, keys):
        with pytest.raises(
            BundleError, match=r"model.sig: missing. `sacpipe sign --ecdsa-key` adds"
        ) as refusal:
            verify_model(read_files(bundle), keys[1])
        assert refusal.value.rule == "signature"

    def test_base64_with_another_character_is_refused(self, signed, keys):
        tree = json.loads(signed["model.sig"])
        tree["dsseEnvelope"]["payload"] = "!" + tree["dsseEnvelope"]["payload"]
        with pytest.raises(BundleError, match=r"by a key, found Error: "):
            verify_model(signed | {"model.sig": json.dumps(tree).encode()}, keys[1])

    def test_a_long_value_is_cut(self, signed, keys):
        tree = json.loads(signed["model.sig"]) | {"mediaType": "x" * 200}
        with pytest.raises(BundleError, match=f"found {'x' * 80}[.] Fetch"):
            verify_model(signed | {"model.sig": json.dumps(tree).encode()}, keys[1])

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda found: found[:2], "expected the digest of manifest.json, policy.onnx, found none"),
            (
                lambda found: [*found, {"name": "more.txt", "digest": "ab", "algorithm": "sha256"}],
                "more.txt: expected SHA-256 ab, found no such file",
            ),
            (
                lambda found: [found[0] | {"digest": "ab"}, *found],
                "expected 5 different names, found 4 different names",
            ),
            (lambda found: [found[0] | {"algorithm": "blake3"}, *found[1:]], "expected sha256, found blake3"),
        ],
        ids=["two files less", "a file more", "a file twice", "another hash"],
    )
    @pytest.mark.parametrize("is_root_of_all", [True, False], ids=["all", "each name once"])
    def test_other_resources_are_refused(self, bundle, keys, monkeypatch, change, sentence, is_root_of_all):
        """The root digest fits them, whether it counts the last of a name only or all."""

        def replace(tree):
            resources = tree["predicate"]["resources"] = change(tree["predicate"]["resources"])
            last = list({resource["name"]: resource for resource in resources}.values())
            tree["subject"][0]["digest"]["sha256"] = root_of(resources if is_root_of_all else last)

        with pytest.raises(BundleError, match=sentence):
            verify_model(resigned(bundle, keys[0], monkeypatch, replace), keys[1])

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (
                lambda tree: tree.update(_type="other"),
                "expected https://in-toto.io/Statement/v1, found other",
            ),
            (lambda tree: tree.pop("predicate"), "found KeyError: 'predicate'"),
            (lambda tree: tree.pop("subject"), "found KeyError: 'subject'"),
            (lambda tree: tree["subject"].clear(), "found ValueError: not enough values"),
            (lambda tree: tree["subject"].append(tree["subject"][0]), "found ValueError: too many values"),
            (
                lambda tree: tree["subject"][0].update(digest={"sha256": "ab"}),
                "expected [0-9a-f]{64}, found ab",
            ),
            (lambda tree: tree["predicate"].pop("serialization"), "found KeyError: 'serialization'"),
            (
                lambda tree: tree["predicate"].update(serialization={"method": "shards"}),
                "expected files, found shards",
            ),
            (
                lambda tree: tree["predicate"].update(
                    serialization={"method": "files", "hash_type": "blake3"}
                ),
                "expected sha256, found blake3",
            ),
        ],
        ids=[
            "another statement",
            "no predicate",
            "no subject",
            "no subject in the list",
            "two subjects",
            "another root digest",
            "no serialization",
            "shards",
            "another hash",
        ],
    )
    def test_another_statement_is_refused(self, bundle, keys, monkeypatch, change, sentence):
        files = resigned(bundle, keys[0], monkeypatch, lambda tree: change(tree) and None)
        with pytest.raises(BundleError, match=sentence):
            verify_model(files, keys[1])

    def test_only_signing_needs_an_openssl_with_deterministic_signatures(
        self, bundle, signed, keys, monkeypatch
    ):
        monkeypatch.setattr(type(backend), "ecdsa_deterministic_supported", lambda _: False)
        verify_model(signed, keys[1])
        with pytest.raises(ConfigError, match=r"signing needs OpenSSL 3.2: `pip install "):
            sign_model(bundle, keys[0])

    def test_a_signature_of_others_may_cover_manifest_sig_too(self, bundle, tmp_path, keys, monkeypatch):
        make_key(tmp_path / "robot.key")
        sign_bundle(bundle, tmp_path / "robot.key")
        monkeypatch.setattr(model_signature, "REQUIRED", REQUIRED | {"manifest.sig"})
        sign_model(bundle, keys[0])
        monkeypatch.undo()
        verify_model(read_files(bundle), keys[1])

    @pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"[" * 5000, b'{"dsseEnvelope": 1}'])
    def test_what_is_no_bundle_of_the_format_is_refused(self, signed, keys, data):
        with pytest.raises(
            BundleError, match=r"model.sig: expected OpenSSF Model Signing 1.0 by a key, found"
        ):
            verify_model(signed | {"model.sig": data}, keys[1])

    @pytest.mark.parametrize("vector", VECTORS)
    def test_vectors_of_the_specification(self, vector):
        """Two of the three valid ones are by methods without a key, which are not for robots."""
        data = (OPENSSF / vector).read_bytes()
        if vector == "valid-key.bundle.json":
            assert read_statement(data, OPENSSF / "vector.pub")[1].keys() == {"signme-1", "signme-2"}
        else:
            with pytest.raises(BundleError, match=r"model.sig: expected "):
                read_statement(data, OPENSSF / "vector.pub")

    def test_there_are_eight_vectors(self):
        assert len(VECTORS) == 8


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "encryption", "sentence"),
        [
            (ed25519.Ed25519PrivateKey.generate(), None, "found Ed25519PrivateKey"),
            (ec.generate_private_key(ec.SECP256K1()), None, "found ECPrivateKey"),
            (ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"secret"), "found none: "),
        ],
        ids=["Ed25519", "another curve", "encrypted"],
    )
    def test_another_kind_is_refused_with_the_command_that_makes_one(
        self, bundle, tmp_path, key, encryption, sentence
    ):
        private, _ = write_keys(tmp_path, key, encryption)
        with pytest.raises(ConfigError, match=f"as `openssl genpkey -algorithm EC .*` writes, {sentence}"):
            sign_model(bundle, private)

    def test_a_private_key_is_no_public_key(self, signed, keys):
        with pytest.raises(ConfigError, match=r"as `openssl pkey -in PRIVATE_KEY -pubout .*found none: "):
            verify_model(signed, keys[0])


class TestCommands:
    def test_sign_and_check(self, bundle, tmp_path, keys, capsys):
        private, public = map(str, keys)
        make_key(tmp_path / "robot.key")
        assert main(["sign", str(bundle), "--key", str(tmp_path / "robot.key"), "--ecdsa-key", private]) == 0
        assert capsys.readouterr().out.count(f"bundle {bundle_digest(bundle)}, signed by ") == 2
        assert main(["check", str(bundle), "--ecdsa-public-key", public]) == 0
        assert "\n  model.sig  passed       " in capsys.readouterr().out
        assert main(["check", str(bundle)]) == 0
        assert capsys.readouterr().out.endswith("\n  model.sig  not checked\n")
        (bundle / "model.sig").write_bytes(b"")
        assert main(["check", str(bundle), "--ecdsa-public-key", public]) == 1
        assert f"sacpipe: {bundle}: model.sig: expected OpenSSF" in capsys.readouterr().err

    def test_sign_without_a_key(self, bundle, capsys):
        assert main(["sign", str(bundle)]) == 2
        assert "--key, --ecdsa-key: expected one of them or both, found none" in capsys.readouterr().err
