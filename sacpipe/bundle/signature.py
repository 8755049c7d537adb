"""manifest.sig: a detached Ed25519 signature of the bytes of manifest.json.

    {"format_version":1,"key_id":"<16 hex digits>","signature":"<128 hex digits>"}

The manifest has the digest of every other file, so the signature covers all of them. The signed bytes
are a prefix and the manifest; because of the prefix, a signature made for another purpose is not valid
for a bundle. Only signing and verifying need the package `cryptography`.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import StringConstraints, ValidationError

from sacpipe.bundle.files import MODEL_SIGNATURE_NAME, SIGNATURE_NAME, read_files
from sacpipe.bundle.reader import parse_bundle
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError, ConfigError
from sacpipe.core.files import (
    canonical_json,
    make_folder,
    sha256_bytes,
    storage_errors,
    sync_folder,
    write_bytes,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PREFIX = b"sacpipe bundle manifest.json, signature version 1\n"
_KEY_ID_DIGITS = 16
_K = TypeVar("_K")

PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""The 32 raw bytes of an Ed25519 public key, as 64 lower-case hexadecimal digits."""


class Signature(Config):
    """The whole of manifest.sig."""

    format_version: Literal[1]
    key_id: Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{_KEY_ID_DIGITS}}}$")]
    """Id of the key that signed: the first 16 hexadecimal digits of its public key's SHA-256."""
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
    """The 64 bytes of the signature, as hexadecimal digits."""


def key_id(public_key: PublicKey) -> str:
    """Return the id of a public key: the first 16 hexadecimal digits of its SHA-256."""
    return sha256_bytes(bytes.fromhex(public_key))[:_KEY_ID_DIGITS]


def make_key(path: Path) -> PublicKey:
    """Write a new private key, readable by its owner only, and return its public key.

    Raises:
        ConfigError: `path` exists, or the package `cryptography` is missing.
        StorageError: the file cannot be written.
    """
    with needs_cryptography():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_secret(path.absolute(), pem)
    return key.public_key().public_bytes_raw().hex()


def read_public_key(path: Path) -> PublicKey:
    """Return the public key of a private key's file.

    Raises:
        ConfigError: the file is not an Ed25519 private key, or the package `cryptography` is missing.
    """
    return _read_key(path).public_key().public_bytes_raw().hex()


def sign_bundle(folder: Path, private_key: Path) -> str:
    """Verify a bundle, write its manifest.sig, and return the key's id. The bundle's digest does not change.

    Args:
        folder: The bundle; an existing signature is replaced.
        private_key: File that `make_key` wrote.

    Raises:
        BundleError: the bundle is damaged.
        ConfigError: the file is not a key, or the package `cryptography` is missing.
        StorageError: the folder cannot be written.
    """
    key = _read_key(private_key)
    files = read_to_sign(folder)
    made = Signature(
        format_version=1,
        key_id=key_id(key.public_key().public_bytes_raw().hex()),
        signature=key.sign(_PREFIX + files["manifest.json"]).hex(),
    )
    write_bytes(folder / SIGNATURE_NAME, _render(made))
    return made.key_id


def read_to_sign(folder: Path) -> dict[str, bytes]:
    """Verify a bundle and return its files, by name. What a killed signing left is removed first.

    Raises:
        BundleError: the bundle is damaged.
        StorageError: a leftover cannot be removed.
    """
    try:
        with storage_errors(folder):
            for name in (SIGNATURE_NAME, MODEL_SIGNATURE_NAME):
                for leftover in folder.glob(f".{name}.*.tmp"):
                    leftover.unlink()
        files = read_files(folder)
        parse_bundle(files)
    except BundleError as exc:
        raise BundleError(f"bundle {folder} was not signed: {exc}", exc.rule) from exc
    return files


def verify_signature(manifest: bytes, signature: bytes, public_keys: tuple[PublicKey, ...]) -> str:
    """Check that a trusted key signed a manifest, and return that key's id.

    Args:
        manifest: Bytes of manifest.json.
        signature: Bytes of manifest.sig.
        public_keys: The trusted keys.

    Raises:
        BundleError: the signature has another form, is by another key, or is of other bytes.
        ConfigError: a trusted key is not a key, or the package `cryptography` is missing.
    """
    found = _parse(signature)
    trusted = {key_id(key): key for key in public_keys}
    if found.key_id not in trusted:
        raise _refuse(f"expected a signature by one of {', '.join(sorted(trusted))}, found {found.key_id}")
    with needs_cryptography():
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(trusted[found.key_id]))
    try:
        key.verify(bytes.fromhex(found.signature), _PREFIX + manifest)
    except InvalidSignature as exc:
        fault = f"expected a signature by {found.key_id} of this manifest.json"
        raise _refuse(f"{fault}, found a signature of other bytes") from exc
    return found.key_id


def _parse(data: bytes) -> Signature:
    try:
        found = Signature.model_validate_json(data)
    except ValidationError as exc:
        fault = exc.errors()[0]
        path = fault["loc"][0] if fault["loc"] else "the file"
        raise _refuse(f"{path}: {fault['msg']}") from exc
    if _render(found) != data:
        raise _refuse("expected sorted JSON on one line with each key once, found another form")
    return found


def _render(signature: Signature) -> bytes:
    return (canonical_json(signature.as_tree()) + "\n").encode()


def _refuse(fault: str) -> BundleError:
    return BundleError(f"{SIGNATURE_NAME}: {fault}. Fetch the bundle again, or have it signed.", "signature")


def _read_key(path: Path) -> "Ed25519PrivateKey":
    with needs_cryptography():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    key = read_pem(path, "an Ed25519 private key", partial(load_pem_private_key, password=None))
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"{path}: expected an Ed25519 private key, found {type(key).__name__}. `sacpipe keys` makes one."
        )
    return key


def read_pem(path: Path, expected: str, load: Callable[[bytes], _K]) -> _K:
    """Return the key that `load` finds in a file; `expected` is its kind, for messages.

    Raises:
        ConfigError: the file cannot be read, or has no key.
    """
    with needs_cryptography():
        from cryptography.exceptions import UnsupportedAlgorithm
    try:
        return load(path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
        reason = str(exc).partition("\n")[0]
        raise ConfigError(f"{path}: expected {expected}, found none: {reason}.") from exc


def _write_secret(path: Path, data: bytes) -> None:
    """Write a file that no other user can read at any moment; an existing file is never replaced."""
    if os.path.lexists(path):
        raise ConfigError(
            f"{path}: expected no file, found one. A key is never replaced; move the file away."
        )
    with storage_errors(path):
        make_folder(path.parent)
        # A folder of mode 0700 hides the file until it has its own mode.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as hidden:
            written = Path(hidden) / path.name
            write_bytes(written, data)
            written.chmod(0o600)
            written.replace(path)
        sync_folder(path.parent)


@contextlib.contextmanager
def needs_cryptography() -> Iterator[None]:
    """Say in a ConfigError what to install where the package `cryptography` is missing."""
    try:
        yield
    except ImportError as exc:
        raise ConfigError(
            "signatures need the package `cryptography`, which is not installed here. "
            "`pip install sacpipe[serve]` installs it."
        ) from exc
