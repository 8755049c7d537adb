"""A file is the old one or the new one; a refusal to write is one clear error."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from folder_digest import sha256_tree

from sacpipe.core.errors import BundleError, StorageError
from sacpipe.core.files import (
    canonical_json,
    check_writable,
    read_json,
    sha256_bytes,
    write_bytes,
    write_json,
)


def test_writing_leaves_no_temporary_file(tmp_path):
    write_bytes(tmp_path / "a" / "b.bin", b"one")
    write_bytes(tmp_path / "a" / "b.bin", b"two")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.bin"]
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"two"


def test_a_write_that_finds_no_room_keeps_the_old_file(tmp_path):
    """A file size limit of the process simulates the full disk: the same write stops midway."""
    target = tmp_path / "kept.bin"
    write_bytes(target, b"old")
    script = (
        "import resource, sys, pathlib\n"
        "from sacpipe.core.errors import StorageError\n"
        "from sacpipe.core.files import write_bytes\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        "try:\n"
        f"    write_bytes(pathlib.Path({str(target)!r}), b'x' * 10_000)\n"
        "except StorageError as exc:\n"
        "    sys.stdout.write(str(exc))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cannot write" in result.stdout
    assert "Existing files are unchanged" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["kept.bin"]
    assert target.read_bytes() == b"old"


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StorageError, match="a file exists where a folder is needed"):
        write_bytes(tmp_path / "out" / "x", b"")
    assert (tmp_path / "out").read_text() == "in the way"


def test_json_is_strict_both_ways(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").write_text('{"x": Infinity}')
    with pytest.raises(BundleError, match="Infinity is not a JSON number"):
        read_json(tmp_path / "b.json", BundleError)
    with pytest.raises(BundleError, match="is missing"):
        read_json(tmp_path / "c.json", BundleError)


def test_numbers_keep_their_full_precision(tmp_path):
    write_json(tmp_path / "a.json", [0.1 + 0.2, 1e-310])
    assert read_json(tmp_path / "a.json", BundleError) == [0.1 + 0.2, 1e-310]


def test_digests_by_hand(tmp_path):
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_tree(tmp_path) == sha256_bytes(f"{sha256_bytes(b'abc')}  x\n".encode())
    (tmp_path / "x").rename(tmp_path / "y")
    assert sha256_tree(tmp_path) != sha256_bytes(f"{sha256_bytes(b'abc')}  x\n".encode())


def test_canonical_json_has_one_form():
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'


def test_a_folder_that_another_process_checks_too_is_writable(tmp_path, monkeypatch):
    write = Path.replace

    def replace_and_remove(self, target):
        write(self, target)
        target.unlink()  # by the other process

    monkeypatch.setattr(Path, "replace", replace_and_remove)
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
