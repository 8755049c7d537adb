"""Writes a bundle atomically; the same parts give the same bytes."""

import os
from pathlib import Path

from sacpipe.bundle.canonical_json import FORMAT_VERSION, render_canonical
from sacpipe.bundle.contract import Contract
from sacpipe.bundle.files import MAX_BYTES, read_files
from sacpipe.bundle.golden import Golden, pack_golden
from sacpipe.bundle.manifest import BundleManifest, PayloadName, file_entry
from sacpipe.bundle.reader import parse_bundle
from sacpipe.core.errors import BundleError
from sacpipe.core.files import make_folder, storage_errors, sync_folder, write_bytes
from sacpipe.core.temporary import remove_killed, temporary_folder, temporary_name


def write_bundle(folder: Path, policy_onnx: bytes, contract: Contract, golden: Golden) -> str:
    """Write a bundle atomically and return its digest. An existing bundle is replaced.

    Raises:
        BundleError: the parts do not fit each other, or `folder` exists and is not a bundle.
        StorageError: the disk is full or the folder cannot be written.
    """
    folder = folder.absolute()
    _check_replaceable(folder)
    try:
        with storage_errors(folder):
            make_folder(folder.parent)
            with temporary_folder(folder) as temporary:
                for name, data in _render_files(policy_onnx, contract, golden).items():
                    write_bytes(temporary / name, data)
                digest = parse_bundle(read_files(temporary)).digest
                _move_into_place(temporary, folder)
    except BundleError as exc:
        raise BundleError(f"bundle {folder} was not written: {exc}", exc.rule) from exc
    return digest


def _render_files(policy_onnx: bytes, contract: Contract, golden: Golden) -> dict[str, bytes]:
    payload: dict[PayloadName, bytes] = {
        "contract.json": render_canonical(contract),
        "golden.npz": pack_golden(golden),
        "policy.onnx": policy_onnx,
    }
    files = {name: file_entry(data) for name, data in payload.items()}
    manifest = BundleManifest(format_version=FORMAT_VERSION, files=files)
    return dict(payload) | {"manifest.json": render_canonical(manifest)}


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace anything but a bundle, complete or not: a folder with another file in it stays."""
    if not os.path.lexists(folder):
        return
    is_folder = folder.is_dir() and not folder.is_symlink()
    if not is_folder or {path.name for path in folder.iterdir()} - MAX_BYTES.keys():
        raise BundleError(
            f"{folder}: expected a bundle or no folder, found something else. Choose another folder."
        )


def _move_into_place(temporary: Path, folder: Path) -> None:
    retired = temporary_name(folder, "old")
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
    remove_killed(folder, "old")  # the retired one, and those of writers that were killed before this line
