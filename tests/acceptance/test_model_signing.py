"""A bundle's model.sig passes OpenSSF's own verifier, from the environment of the public clients."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from repository import ROOT

from sacpipe.bundle.model_signature import sign_model
from sacpipe.bundle.signature import make_key, sign_bundle

pytestmark = pytest.mark.acceptance

PYTHON = ROOT / ".clients" / "bin" / "python"
SCRIPT = Path(__file__).parent / "clients" / "verify_model.py"


def verify(folder, public):
    words = [PYTHON, SCRIPT, folder, public]
    return subprocess.run(words, env={}, capture_output=True, text=True, check=False, timeout=60)


def test_the_verifier_accepts_a_bundle_with_both_signatures_and_no_changed_one(bundles, tmp_path):
    folder, private, public = tmp_path / "release", tmp_path / "key.pem", tmp_path / "key.pub"
    shutil.copytree(bundles[0], folder)
    key = ec.generate_private_key(ec.SECP256R1())
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    sign_model(folder, private)
    make_key(tmp_path / "robot.key")
    sign_bundle(folder, tmp_path / "robot.key")
    accepted = verify(folder, public)
    assert accepted.returncode == 0, accepted.stderr
    (folder / "golden.npz").write_bytes(b"other")
    refused = verify(folder, public)
    assert refused.returncode != 0
    assert "Hash mismatch for" in refused.stderr
    assert "golden.npz" in refused.stderr
