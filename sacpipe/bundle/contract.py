"""A bundle: the folder a robot gets. Writing one, and opening one without trusting it.

    policy.onnx     raw observation in, action in the task's own units out
    contract.json   what goes in and comes out, and where the policy came from
    golden.npz      observations and the actions the policy gave for them
    manifest.json   size and SHA-256 of the three others
    manifest.sig    optional: a signature of manifest.json (sacpipe/bundle/signature.py)

The digest of a bundle is the SHA-256 of its manifest.json. docs/bundle.md is the format's page.
"""

import contextlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, StringConstraints, ValidationError, model_validator

from sacpipe.bundle.golden import Golden, pack_golden, read_golden
from sacpipe.bundle.guard_settings import Envelope, GuardTerms
from sacpipe.bundle.policy_graph import GraphFacts, read_graph
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError, BundleRule
from sacpipe.core.files import sha256_bytes, storage_errors, sync_folder, write_bytes
from sacpipe.specs.env_spec import EnvSpec

FORMAT_VERSION: Literal[2] = 2
MAX_BYTES = {
    "manifest.json": 2**16,
    "manifest.sig": 2**10,
    "contract.json": 2**20,
    "golden.npz": 2**26,
    "policy.onnx": 2**28,
}
"""The largest file that is opened, by name."""
SIGNATURE_NAME = "manifest.sig"

_REQUIRED = MAX_BYTES.keys() - {SIGNATURE_NAME}
_FETCH_AGAIN = "Fetch the bundle again, or export it again."
_C = TypeVar("_C", bound=Config)

PayloadName = Literal["contract.json", "golden.npz", "policy.onnx"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class OnnxTerms(Config):
    """The two tensors of policy.onnx and what a runtime must know to run it."""

    input_name: Literal["observation"]
    """Raw observations. Shape (batch, observation_dim), any batch."""
    input_dtype: Literal["float32"]
    output_name: Literal["action"]
    """Actions in the task's own units. Shape (batch, action_dim)."""
    output_dtype: Literal["float32"]
    ir_version: int
    opset_version: int
    operators: tuple[str, ...]
    """Sorted, each once."""


class ParityTerms(Config):
    """How far policy.onnx is from the network it was exported from."""

    tolerance: float = Field(gt=0)
    """Largest difference allowed, as a share of the action's range."""
    max_error: float = Field(ge=0)
    """Largest difference found on recorded observations, as a share of the action's range."""
    synthetic_max_error: float = Field(ge=0)
    """The same on random and extreme observations, where the policy itself may be ill-conditioned."""
    num_observations: int = Field(ge=1)
    """Observations compared, recorded and synthetic."""

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.max_error > self.tolerance:
            raise ValueError(f"max_error {self.max_error} is above the tolerance {self.tolerance}")
        return self


class GoldenTerms(Config):
    """How golden.npz is judged."""

    tolerance: float = Field(gt=0)
    """Largest difference a runtime may show, as a share of the action's range."""
    num_steps: int = Field(ge=1)


class Provenance(Config):
    """Where a policy came from."""

    algorithm: str
    digests: dict[str, Sha256]
    """What it was made of: name to SHA-256, e.g. `policy`, `pool`, `params`."""


def check_safe_action(safe_action: tuple[float, ...], spec: EnvSpec) -> None:
    """Raise ValueError where a safe action is none of the task's."""
    bounds = [(term.low, term.high) for term in spec.action]
    fits = len(safe_action) == len(bounds) and all(
        low <= value <= high for value, (low, high) in zip(safe_action, bounds, strict=True)
    )
    if not fits:
        raise ValueError(
            f"guards.safe_action: expected {len(bounds)} numbers within {bounds}, found {list(safe_action)}"
        )


class Contract(Config):
    """What a bundle promises. Numbers keep their full precision."""

    format_version: Literal[2]
    spec: EnvSpec
    """Task, observation terms in order, action terms in order, clock and time limit."""
    onnx: OnnxTerms
    parity: ParityTerms
    golden: GoldenTerms
    guards: GuardTerms
    """What a robot's runtime refuses, and what it does then."""
    envelope: Envelope
    """Where training has been."""
    provenance: Provenance

    @model_validator(mode="after")
    def _widths(self) -> Self:
        spec, safe = self.spec, self.guards.safe_action
        if len(self.envelope.low) != spec.observation_dim:
            raise ValueError(
                f"envelope: expected {spec.observation_dim} entries, found {len(self.envelope.low)}"
            )
        if safe is not None:
            check_safe_action(safe, spec)
        return self


class FileEntry(Config):
    """One file as the manifest knows it."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)


class BundleManifest(Config):
    """Size and digest of every other file of a bundle."""

    format_version: Literal[2]
    files: dict[PayloadName, FileEntry] = Field(min_length=3)
    """All three."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle that was verified; it holds the very bytes that were verified."""

    digest: str
    contract: Contract
    policy_onnx: bytes
    golden: Golden
    signature: bytes | None
    """The bytes of manifest.sig, unverified; None where there is none."""


def bundle_digest(folder: Path) -> str:
    """Return the SHA-256 of a bundle's manifest.json, without checking the other files.

    Raises:
        BundleError: there is no manifest.json that can be read.
    """
    with _opened(folder) as descriptor:
        return sha256_bytes(_read_file(descriptor, "manifest.json"))


def contract_sha256(contract: Contract) -> str:
    """Return the SHA-256 of the contract.json that holds a contract: there is but one."""
    return sha256_bytes(_render(contract))


def open_bundle(folder: Path) -> Bundle:
    """Verify a bundle and return what it holds.

    Raises:
        BundleError: names the file and field, what was expected, what was found and what to do.
    """
    try:
        return parse_bundle(read_files(folder))
    except BundleError as exc:
        raise BundleError(f"bundle {folder}: {exc}", exc.rule) from exc


def read_files(folder: Path, *, allow_hard_links: bool = True) -> dict[str, bytes]:
    """Read the files of a bundle, by name. Names, kinds and sizes are checked; what they hold is not.

    All of them are read from the one folder that stands there now, should it be replaced meanwhile.

    Raises:
        BundleError: a file is missing, too many, no plain file, too large or cannot be read.
    """
    with under_rule("files"), _opened(folder) as descriptor:
        entries = sorted(os.scandir(descriptor), key=lambda entry: entry.name)
        check_names([entry.name for entry in entries])
        with under_rule("links"):
            for entry in entries:
                _check_plain(entry, allow_hard_links=allow_hard_links)
        return {entry.name: _read_file(descriptor, entry.name) for entry in entries}


def check_names(names: Collection[str]) -> None:
    """Check that the files of a bundle are all there, and nothing else.

    Raises:
        BundleError: names the file.
    """
    for name in sorted(names):
        if name not in MAX_BYTES:
            shown = name if name.isprintable() else ascii(name)
            raise BundleError(f"{shown}: expected no such file in a bundle. {_FETCH_AGAIN}")
    if missing := sorted(_REQUIRED - set(names)):
        raise BundleError(f"{', '.join(missing)}: missing. {_FETCH_AGAIN}")


def check_size(name: str, size_bytes: int) -> None:
    """Check that a file of a bundle is not larger than any can be.

    Raises:
        BundleError: names the file.
    """
    if size_bytes > MAX_BYTES[name]:
        fault = f"expected at most {MAX_BYTES[name]} bytes, found {size_bytes}"
        raise BundleError(f"{name}: {fault}. {_FETCH_AGAIN}", "size")


def parse_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Verify a bundle from the bytes of its files and return what it holds.

    Args:
        files: By name; the names of a bundle.

    Raises:
        BundleError: names the file and field, what was expected, what was found and what to do.
    """
    with under_rule("manifest"):
        manifest = _parse(BundleManifest, files["manifest.json"], "manifest.json")
    with under_rule("digest"):
        for name, entry in manifest.files.items():
            _check_listed(name, files[name], entry)
    with under_rule("contract"):
        contract = _parse(Contract, files["contract.json"], "contract.json")
    with under_rule("graph"):
        _check_graph(read_graph(files["policy.onnx"]), contract.onnx)
    with under_rule("golden"):
        golden = read_golden(files["golden.npz"], contract.spec, contract.golden.num_steps)
    digest = sha256_bytes(files["manifest.json"])
    return Bundle(digest, contract, files["policy.onnx"], golden, files.get(SIGNATURE_NAME))


@contextlib.contextmanager
def under_rule(rule: BundleRule) -> Iterator[None]:
    """Give every BundleError that has no rule yet this one."""
    try:
        yield
    except BundleError as exc:
        exc.rule = exc.rule or rule
        raise


def write_bundle(folder: Path, policy_onnx: bytes, contract: Contract, golden: Golden) -> str:
    """Write a bundle and return its digest. Whole or not at all; a bundle that stands there is replaced.

    Raises:
        BundleError: the parts do not fit each other, or something that is no bundle stands there.
        StorageError: the disk is full or the folder cannot be written.
    """
    folder = folder.absolute()
    _check_replaceable(folder)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        for name, data in _render_files(policy_onnx, contract, golden).items():
            write_bytes(temporary / name, data)
        digest = parse_bundle(read_files(temporary)).digest
        with storage_errors(folder):
            _move_into_place(temporary, folder)
    except BundleError as exc:
        raise BundleError(f"bundle {folder} was not written: {exc}", exc.rule) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def _render_files(policy_onnx: bytes, contract: Contract, golden: Golden) -> dict[str, bytes]:
    payload: dict[PayloadName, bytes] = {
        "contract.json": _render(contract),
        "golden.npz": pack_golden(golden),
        "policy.onnx": policy_onnx,
    }
    files = {name: _entry(data) for name, data in payload.items()}
    manifest = BundleManifest(format_version=FORMAT_VERSION, files=files)
    return dict(payload) | {"manifest.json": _render(manifest)}


def _entry(data: bytes) -> FileEntry:
    return FileEntry(sha256=sha256_bytes(data), size_bytes=len(data))


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise BundleError(f"expected a folder of {len(_REQUIRED)} files, found none: {exc}.") from exc
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check_plain(entry: os.DirEntry[str], *, allow_hard_links: bool) -> None:
    num_names = entry.stat(follow_symlinks=False).st_nlink
    if not allow_hard_links and entry.is_file(follow_symlinks=False) and num_names > 1:
        raise BundleError(
            f"{entry.name}: expected a file with one name, found a hard link with {num_names}. "
            "Copy the file itself."
        )
    if not entry.is_file(follow_symlinks=False):
        found = "a link" if entry.is_symlink() else "something else"
        raise BundleError(f"{entry.name}: expected a plain file, found {found}. Copy the file itself.")


def _read_file(folder: int, name: str) -> bytes:
    """Read a plain file of at most its allowed size; never follow a link, never wait for a pipe."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                fault = "expected a plain file, found something else"
                raise BundleError(f"{name}: {fault}. {_FETCH_AGAIN}", "links")
            check_size(name, status.st_size)
            return file.read(MAX_BYTES[name])
    except OSError as exc:
        raise BundleError(f"{name}: cannot be read: {exc}. {_FETCH_AGAIN}", "files") from exc


def _check_listed(name: str, data: bytes, expected: FileEntry) -> None:
    found = _entry(data)
    if found.size_bytes != expected.size_bytes:
        fault = f"expected {expected.size_bytes} bytes, found {found.size_bytes}"
        raise BundleError(f"{name}: {fault}. {_FETCH_AGAIN}")
    if found.sha256 != expected.sha256:
        fault = f"expected SHA-256 {expected.sha256}, found {found.sha256}"
        raise BundleError(f"{name}: {fault}. {_FETCH_AGAIN}")


def _parse(model: type[_C], data: bytes, name: str) -> _C:
    """Read one of the two JSON files; it must be byte for byte what this program would write."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise BundleError(f"{name}: expected JSON, found {exc}. {_FETCH_AGAIN}") from exc
    version = tree.get("format_version") if isinstance(tree, dict) else None
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise BundleError(
            f"{name}: expected format_version {FORMAT_VERSION}, found {version!r}. "
            "Upgrade sacpipe here, or export the bundle again with the version installed here."
        )
    try:
        value = model.model_validate_json(data)
    except ValidationError as exc:
        raise BundleError(f"{name}: {_explain(exc)}. {_FETCH_AGAIN}") from exc
    if _render(value) != data:
        raise BundleError(f"{name}: expected sorted, indented JSON with each key once. {_FETCH_AGAIN}")
    return value


def _explain(exc: ValidationError) -> str:
    faults = []
    for fault in exc.errors(include_url=False, include_context=False):
        path = ".".join(str(part) for part in fault["loc"]) or "the file"
        faults.append(f"{path}: {fault['msg']}, found {str(fault['input'])[:60]}")
    return "; ".join(faults)


def _render(value: Config) -> bytes:
    return (json.dumps(value.as_tree(), sort_keys=True, indent=2, allow_nan=False) + "\n").encode()


def _check_graph(found: GraphFacts, terms: OnnxTerms) -> None:
    for field, value in found._asdict().items():
        if value != (expected := getattr(terms, field)):
            raise BundleError(f"policy.onnx: {field}: expected {expected}, found {value}. {_FETCH_AGAIN}")


def _check_replaceable(folder: Path) -> None:
    """Only a bundle, whole or not, may be replaced: never a folder with anything else in it."""
    if not os.path.lexists(folder):
        return
    is_folder = folder.is_dir() and not folder.is_symlink()
    if not is_folder or {path.name for path in folder.iterdir()} - MAX_BYTES.keys():
        raise BundleError(f"{folder}: expected a bundle or nothing there. Choose another folder.")


def _move_into_place(temporary: Path, folder: Path) -> None:
    retired = temporary.with_suffix(".old")
    is_replacing = folder.exists()
    if is_replacing:
        folder.replace(retired)
    try:
        temporary.replace(folder)
    except BaseException:
        if is_replacing:
            retired.replace(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(retired, ignore_errors=True)
