"""model.sig: a signature in the format OpenSSF Model Signing 1.0, which others verify without sacpipe.

A Sigstore bundle with a DSSE envelope, whose payload is an in-toto statement with the SHA-256 of every file
but the two signatures. The key is of ECDSA, because the format has no Ed25519. docs/bundle.md describes it.
"""

import base64
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sacpipe.bundle.canonical_json import FETCH_AGAIN
from sacpipe.bundle.files import MODEL_SIGNATURE_NAME, REQUIRED, SIGNATURE_NAME
from sacpipe.bundle.signature import needs_cryptography, read_pem, read_to_sign
from sacpipe.core.errors import BundleError, ConfigError
from sacpipe.core.files import canonical_json, sha256_bytes, write_json

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_TYPES = {
    "_type": "https://in-toto.io/Statement/v1",
    "predicateType": "https://model_signing/signature/v1.0",
}
_SERIALIZATION = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore", SIGNATURE_NAME, MODEL_SIGNATURE_NAME],
}
_WRITTEN_BY = {
    "private": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE",
    "public": "openssl pkey -in PRIVATE_KEY -pubout -out FILE",
}
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""Hash that signatures on a curve use, by the curve's name."""


def sign_model(folder: Path, private_key: Path) -> str:
    """Verify a bundle, write its model.sig, and return the key's id. The bundle's digest does not change.

    Args:
        folder: The bundle; an existing model.sig is replaced.
        private_key: PEM file, not encrypted, of an ECDSA key on P-256, P-384 or P-521.

    Raises:
        BundleError: the bundle is damaged.
        ConfigError: the file is not such a key, or the package `cryptography` is missing.
        StorageError: the folder cannot be written.
    """
    key = _read_key(private_key, "private")
    files = read_to_sign(folder)
    digests = {name: sha256_bytes(files[name]) for name in sorted(REQUIRED)}
    root = sha256_bytes(bytes.fromhex("".join(digests.values())))
    resources = [{"name": name, "digest": found, "algorithm": "sha256"} for name, found in digests.items()]
    statement = _TYPES | {
        "subject": [{"name": folder.absolute().name, "digest": {"sha256": root}}],
        "predicate": {"resources": resources, "serialization": _SERIALIZATION},
    }
    payload = canonical_json(statement).encode()
    signature = key.sign(_signed_bytes(payload), _ecdsa(key, is_deterministic=True))
    key_id = _key_id(key.public_key())
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": _PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
    }
    material = {"publicKey": {"hint": key_id}, "tlogEntries": []}
    made = {"mediaType": _MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    write_json(folder / MODEL_SIGNATURE_NAME, made)
    return key_id


def verify_model(files: Mapping[str, bytes], public_key: Path) -> str:
    """Check that a key signed the files of a bundle by their model.sig, and return the key's id.

    Args:
        files: Bytes of each file, by name; the names are already checked.
        public_key: PEM file of the key.

    Raises:
        BundleError: model.sig is missing, has another form, or is by another key or of other bytes.
        ConfigError: the file is not such a key, or the package `cryptography` is missing.
    """
    if MODEL_SIGNATURE_NAME not in files:
        raise BundleError(
            f"{MODEL_SIGNATURE_NAME}: missing. `sacpipe sign --ecdsa-key` adds it.", "signature"
        )
    key_id, digests = read_statement(files[MODEL_SIGNATURE_NAME], public_key)
    if missing := REQUIRED - digests.keys():
        raise _refuse(f"expected the digest of {', '.join(sorted(missing))}, found none")
    for name, digest in digests.items():
        found = sha256_bytes(files[name]) if name in files else "no such file"
        if found != digest:
            raise _refuse(f"{name}: expected SHA-256 {digest}, found {found}")
    return key_id


def read_statement(signature: bytes, public_key: Path) -> tuple[str, dict[str, str]]:
    """Return the id of the key that signed, and the SHA-256 of each signed file, by name.

    Raises:
        BundleError: the signature has another form, or is by another key or of other bytes.
        ConfigError: as for `verify_model`.
    """
    key = _read_key(public_key, "public")
    with needs_cryptography():
        from cryptography.exceptions import InvalidSignature
    try:
        tree = json.loads(signature)
        envelope = tree["dsseEnvelope"]
        _expect(_MEDIA_TYPE, tree["mediaType"])
        _expect(_key_id(key), tree["verificationMaterial"]["publicKey"]["hint"])
        _expect(_PAYLOAD_TYPE, envelope["payloadType"])
        payload = base64.b64decode(envelope["payload"], validate=True)
        (signed,) = envelope["signatures"]
        key.verify(base64.b64decode(signed["sig"]), _signed_bytes(payload), _ecdsa(key))
        statement = json.loads(payload)
        for name, kind in _TYPES.items():
            _expect(kind, statement[name])
        predicate = statement["predicate"]
        for name in ("method", "hash_type"):
            _expect(_SERIALIZATION[name], predicate["serialization"][name])
        resources = predicate["resources"]
        for resource in resources:
            _expect("sha256", resource["algorithm"])
        digests = {resource["name"]: resource["digest"] for resource in resources}
        _expect(f"{len(resources)} different names", f"{len(digests)} different names")
        (subject,) = statement["subject"]
        _expect(sha256_bytes(bytes.fromhex("".join(digests.values()))), subject["digest"]["sha256"])
        return _key_id(key), digests
    except InvalidSignature as exc:
        raise _refuse(f"expected a signature by {public_key}, found one of other bytes") from exc
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as exc:
        found = f"{type(exc).__name__}: {exc}"
        raise _refuse(f"expected OpenSSF Model Signing 1.0 by a key, found {found}") from exc


def _signed_bytes(payload: bytes) -> bytes:
    """Return the pre-authentication encoding of DSSE."""
    return f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def _ecdsa(key: Any, *, is_deterministic: bool = False) -> Any:
    """Return the scheme of a key. If it is deterministic, a key gives equal bytes the same signature."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    try:
        return ECDSA(getattr(hashes, _HASHES[key.curve.name])(), deterministic_signing=is_deterministic)
    except UnsupportedAlgorithm as exc:
        raise ConfigError(
            "signing needs OpenSSL 3.2: `pip install --force-reinstall --only-binary :all: cryptography`."
        ) from exc


def _key_id(public_key: Any) -> str:
    """Return the SHA-256 of a public key's PEM text, by which others name a key, too."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return sha256_bytes(public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _read_key(path: Path, kind: str) -> Any:
    with needs_cryptography():
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    private = partial(load_pem_private_key, password=None)
    expected = f"an ECDSA {kind} key on P-256, P-384 or P-521, as `{_WRITTEN_BY[kind]}` writes"
    key: Any = read_pem(path, expected, private if kind == "private" else load_pem_public_key)
    if getattr(getattr(key, "curve", None), "name", None) not in _HASHES:
        raise ConfigError(f"{path}: expected {expected}, found {type(key).__name__}.")
    return key


def _expect(expected: object, found: object) -> None:
    if found != expected:
        raise _refuse(f"expected {expected}, found {str(found)[:80]}")


def _refuse(fault: str) -> BundleError:
    return BundleError(f"{MODEL_SIGNATURE_NAME}: {fault}. {FETCH_AGAIN}", "signature")
