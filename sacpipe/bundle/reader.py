"""Opens and verifies an untrusted bundle, the folder that a robot receives.

    policy.onnx     inputs: raw terms of the observation; output: action in the task's own units
    contract.json   terms of inputs and output, settings of the runtime, and the origin of the policy
    golden.npz      observations and the policy's action for each
    manifest.json   size and SHA-256 of the three files above
    manifest.sig    optional: a signature of manifest.json (sacpipe/bundle/signature.py)
    model.sig       optional: a signature of the four files above (sacpipe/bundle/model_signature.py)

The digest of a bundle is the SHA-256 of its manifest.json. docs/bundle.md defines the format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sacpipe.bundle.canonical_json import FETCH_AGAIN, parse_canonical
from sacpipe.bundle.contract import Contract
from sacpipe.bundle.files import SIGNATURE_NAME, read_files, under_rule
from sacpipe.bundle.golden import Golden, read_golden
from sacpipe.bundle.graph_check import check_graph
from sacpipe.bundle.manifest import BundleManifest, FileEntry, file_entry
from sacpipe.core.errors import BundleError
from sacpipe.core.files import sha256_bytes


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle. It keeps the verified bytes in memory, so later changes on disk have no effect."""

    digest: str
    """SHA-256 of manifest.json."""
    contract: Contract
    policy_onnx: bytes
    golden: Golden
    signature: bytes | None
    """Bytes of manifest.sig, not verified; None if the bundle has no signature."""


def open_bundle(folder: Path, *, follow_cache_links: bool = False) -> Bundle:
    """Verify a bundle and return its contents.

    Args:
        folder: Folder of the bundle.
        follow_cache_links: As for `read_files`: True for an output of this machine's own project.

    Raises:
        BundleError: the bundle is damaged. The message has the file and field, what was expected, what
            was found and what to do.
    """
    try:
        return parse_bundle(read_files(folder, follow_cache_links=follow_cache_links))
    except BundleError as exc:
        raise BundleError(f"bundle {folder}: {exc}", exc.rule) from exc


def parse_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Verify a bundle from the bytes of its files and return its contents.

    Args:
        files: Bytes of each file, by name; the names are already checked.

    Raises:
        BundleError: as for `open_bundle`.
    """
    digest = check_digests(files)
    with under_rule("contract"):
        contract = parse_canonical(Contract, files["contract.json"], "contract.json")
    check_graph(files["policy.onnx"], contract.onnx)
    with under_rule("golden"):
        noise = contract.onnx.noise
        num_steps, noise_dim = contract.golden.num_steps, None if noise is None else noise.dim
        golden = read_golden(files["golden.npz"], contract.spec, num_steps, noise_dim)
    return Bundle(digest, contract, files["policy.onnx"], golden, files.get(SIGNATURE_NAME))


def check_digests(files: Mapping[str, bytes]) -> str:
    """Verify the bytes of a bundle's files by their digests and return the bundle's.

    The contract is not parsed: that imports the code of the guards that it lists.

    Args:
        files: As for `parse_bundle`.

    Raises:
        BundleError: manifest.json has another form, or a file has other bytes than it lists.
    """
    with under_rule("manifest"):
        manifest = parse_canonical(BundleManifest, files["manifest.json"], "manifest.json")
    with under_rule("digest"):
        for name, entry in manifest.files.items():
            _check_listed(name, files[name], entry)
    return sha256_bytes(files["manifest.json"])


def _check_listed(name: str, data: bytes, expected: FileEntry) -> None:
    found = file_entry(data)
    if found.size_bytes != expected.size_bytes:
        fault = f"expected {expected.size_bytes} bytes, found {found.size_bytes}"
        raise BundleError(f"{name}: {fault}. {FETCH_AGAIN}")
    if found.sha256 != expected.sha256:
        fault = f"expected SHA-256 {expected.sha256}, found {found.sha256}"
        raise BundleError(f"{name}: {fault}. {FETCH_AGAIN}")
