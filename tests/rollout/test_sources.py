"""A folder and a tar file give the same bytes; whatever is not a bundle's five plain files is refused."""

import io
import os
import re
import subprocess
import tarfile

import pytest

from sacpipe.bundle import files as bundle_files
from sacpipe.bundle.signature import make_key, sign_bundle
from sacpipe.core.errors import GateError
from sacpipe.rollout.sources import read_source

FILES = ["contract.json", "golden.npz", "manifest.json", "policy.onnx"]


def read(path):
    return read_source(path, allow_hard_links=False)


def refused(path) -> GateError:
    with pytest.raises(GateError) as refusal:
        read(path)
    assert f"refused by the rule '{refusal.value.rule}': {path}: " in str(refusal.value)
    return refusal.value


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def member(name, kind=tarfile.REGTYPE, data=b"", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


@pytest.fixture
def pack(build, tmp_path):
    """Write a tar file of a real bundle, with members in place of or besides its own."""

    def write(*extra, without=(), form=tarfile.GNU_FORMAT):
        with tarfile.open(tmp_path / "bundle.tar", "w", format=form) as archive:
            for name, data in contents(build()).items():
                if name not in without:
                    archive.addfile(member(name, data=data)[0], io.BytesIO(data))
            for info, data in extra:
                archive.addfile(info, io.BytesIO(data))
        return tmp_path / "bundle.tar"

    return write


class TestFolders:
    def test_gives_the_bytes(self, build):
        folder = build()
        assert read(folder) == contents(folder)

    def test_may_be_reached_through_a_link(self, build, tmp_path):
        (tmp_path / "latest").symlink_to(build())
        assert sorted(read(tmp_path / "latest")) == FILES

    def test_a_folder_that_is_replaced_meanwhile_gives_no_mixture(self, bundles, tmp_path, monkeypatch):
        one, two = bundles
        link, read_file = tmp_path / "link", bundle_files._read_file
        link.symlink_to(one)

        def read_and_replace(*arguments):
            data = read_file(*arguments)
            link.unlink(missing_ok=True)
            link.symlink_to(two)
            return data

        monkeypatch.setattr(bundle_files, "_read_file", read_and_replace)
        assert read(link) == contents(one)
        assert read(link) == contents(two)

    def test_a_signature_comes_along(self, build, tmp_path):
        make_key(tmp_path / "key")
        sign_bundle(build(), tmp_path / "key")
        assert sorted(read(tmp_path / "bundle")) == sorted([*FILES, "manifest.sig"])

    def test_nothing_there(self, tmp_path):
        error = refused(tmp_path / "nothing")
        assert (error.rule, "expected a bundle's folder or a tar file" in str(error)) == ("files", True)

    def test_neither_folder_nor_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert refused(tmp_path / "pipe").rule == "files"

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file(self, build, name):
        folder = build()
        (folder / name).unlink()
        error = refused(folder)
        assert (error.rule, f"{name}: missing" in str(error)) == ("files", True)

    @pytest.mark.parametrize("name", ["policy.onnx.data", ".hidden", "evil\x1b[2J"])
    def test_another_file(self, build, name):
        folder = build()
        (folder / name).write_bytes(b"")
        error = refused(folder)
        assert (error.rule, "expected no such file in a bundle" in str(error)) == ("files", True)
        assert "\x1b" not in str(error)

    @pytest.mark.parametrize("name", FILES)
    def test_a_symbolic_link(self, build, tmp_path, name):
        (build() / name).rename(tmp_path / name)
        (tmp_path / "bundle" / name).symlink_to(tmp_path / name)
        error = refused(tmp_path / "bundle")
        assert (error.rule, f"{name}: expected a plain file, found a link" in str(error)) == ("links", True)

    @pytest.mark.parametrize("kind", ["folder", "pipe"])
    def test_no_file_at_all(self, build, kind):
        path = build() / "policy.onnx"
        path.unlink()
        path.mkdir() if kind == "folder" else os.mkfifo(path)
        error = refused(path.parent)
        assert (error.rule, "policy.onnx: expected a plain file" in str(error)) == ("links", True)

    def test_a_hard_link_where_they_are_not_allowed(self, build, tmp_path):
        folder = build()
        os.link(folder / "golden.npz", tmp_path / "elsewhere")
        error = refused(folder)
        assert error.rule == "links"
        assert "golden.npz: expected a file with one name, found a hard link with 2" in str(error)
        assert read_source(folder, allow_hard_links=True) == contents(folder)

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_that_is_too_large(self, build, name):
        folder = build()
        os.truncate(folder / name, 2**40)
        error = refused(folder)
        assert (error.rule, f"{name}: expected at most" in str(error)) == ("size", True)


class TestTarFiles:
    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_gives_the_bytes(self, pack, tmp_path, form):
        assert read(pack(form=form)) == contents(tmp_path / "bundle")

    def test_extended_headers_with_times_are_passed_over(self, build, tmp_path):
        with tarfile.open(tmp_path / "bundle.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            for path in build().iterdir():
                archive.add(path, path.name)
        assert b"mtime=" in (tmp_path / "bundle.tar").read_bytes()
        assert read(tmp_path / "bundle.tar") == contents(tmp_path / "bundle")

    def test_what_the_refusal_advises_works(self, build, tmp_path):
        tar = tmp_path / "bundle.tar"
        subprocess.run(["tar", "-cf", tar, "-C", build(), *FILES], check=True)
        assert read(tar) == contents(tmp_path / "bundle")

    @pytest.mark.parametrize(
        "name",
        ["/policy.onnx", "../policy.onnx", "bundle/policy.onnx", "./policy.onnx", "policy.onnx ", "a\x1b[2J"],
    )
    def test_another_name(self, pack, name):
        error = refused(pack(member(name, data=b"x"), without=["policy.onnx"]))
        assert (error.rule, "expected the files of a bundle, each once" in str(error)) == ("files", True)
        assert "\x1b" not in str(error)
        assert "Pack it with `tar" in str(error)

    def test_a_name_in_the_prefix_field(self, pack):
        name = f"{'d' * 99}/policy.onnx"
        error = refused(pack(member(name, data=b"x"), without=["policy.onnx"], form=tarfile.USTAR_FORMAT))
        assert (error.rule, f"'{name}': expected the files of a bundle" in str(error)) == ("files", True)

    def test_an_extended_header_cannot_rename_or_resize(self, pack, tmp_path):
        records = {"path": "../../policy.onnx", "size": "3"}
        tar = pack(without=["policy.onnx"])
        data = contents(tmp_path / "bundle")
        block = b"".join(_record(key, value) for key, value in records.items())
        raw = member("policy.onnx", tarfile.XHDTYPE, block)[0].tobuf(tarfile.USTAR_FORMAT)
        raw += block.ljust(512, b"\0")
        raw += member("policy.onnx", data=data["policy.onnx"])[0].tobuf(tarfile.USTAR_FORMAT)
        raw += data["policy.onnx"] + b"\0" * (-len(data["policy.onnx"]) % 512)
        tar.write_bytes(raw + tar.read_bytes())
        assert read(tar) == data

    def test_the_same_name_twice(self, pack):
        assert refused(pack(member("policy.onnx", data=b"x"))).rule == "files"

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_file(self, pack, name):
        error = refused(pack(without=[name]))
        assert (error.rule, f"{name}: missing" in str(error)) == ("files", True)

    @pytest.mark.parametrize(
        ("kind", "rule", "found"),
        [
            (tarfile.SYMTYPE, "links", "a symbolic link"),
            (tarfile.LNKTYPE, "links", "a hard link"),
            (tarfile.CHRTYPE, "files", "a device"),
            (tarfile.BLKTYPE, "files", "a device"),
            (tarfile.FIFOTYPE, "files", "a pipe"),
            (tarfile.DIRTYPE, "files", "a folder"),
            (tarfile.GNUTYPE_SPARSE, "files", "a sparse file"),
            (b"Q", "files", "kind b'Q'"),
        ],
    )
    def test_no_plain_file(self, pack, kind, rule, found):
        error = refused(pack(member("policy.onnx", kind, linkname="/etc/passwd"), without=["policy.onnx"]))
        assert error.rule == rule
        assert re.search(f"'policy.onnx/?': expected a plain file, found {found}", str(error))

    def test_a_name_too_long_for_a_header(self, pack):
        error = refused(pack(member("x" * 200, data=b"x")))
        assert (error.rule, "found a long name" in str(error)) == ("files", True)

    @pytest.mark.parametrize("size_bytes", [2**28 + 1, 2**33 - 1])
    def test_a_member_that_says_it_is_too_large_is_not_read(self, build, tmp_path, size_bytes):
        build()
        header = member("policy.onnx", size=size_bytes)[0].tobuf(tarfile.GNU_FORMAT)
        (tmp_path / "bundle.tar").write_bytes(header)
        error = refused(tmp_path / "bundle.tar")
        assert error.rule == "size"
        assert f"policy.onnx: expected at most {2**28} bytes, found {size_bytes}" in str(error)

    @pytest.mark.parametrize(
        "size", [b"\x80" + b"\0" * 10 + b"\1", b"-0000000001\0", b"0x10\0\0\0\0\0\0\0\0", b" " * 12]
    )
    def test_a_size_that_is_no_octal_number(self, pack, size):
        tar = pack()
        data = bytearray(tar.read_bytes())
        data[124:136] = size
        data[148:156] = b" " * 8
        data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
        tar.write_bytes(data)
        error = refused(tar)
        assert (error.rule, "expected an octal number in a header" in str(error)) == ("files", True)

    def test_many_members(self, pack):
        records = [member(f"x{index}", tarfile.XHDTYPE) for index in range(14)]
        error = refused(pack(*records, without=FILES))
        assert (error.rule, "expected at most 13 extended headers" in str(error)) == ("files", True)

    def test_a_long_extended_header(self, pack):
        error = refused(pack(member("x", tarfile.XHDTYPE, b"\0" * (2**16 + 1)), without=FILES))
        assert "expected at most 13 extended headers" in str(error)

    @pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
    def test_a_compressed_one(self, build, tmp_path, mode):
        with tarfile.open(tmp_path / "bundle.tar", mode) as archive:
            archive.add(build() / "policy.onnx", "policy.onnx")
        error = refused(tmp_path / "bundle.tar")
        assert (error.rule, "tar archive" in str(error)) == ("files", True)

    def test_every_flipped_bit_of_a_header_is_seen(self, pack):
        tar = pack()
        data = tar.read_bytes()
        for index in range(512):
            changed = bytearray(data)
            changed[index] ^= 1
            tar.write_bytes(changed)
            assert refused(tar).rule == "files"

    def test_one_that_stops_too_early_at_any_place(self, pack):
        tar = pack()
        data = tar.read_bytes()
        with tarfile.open(tar) as archive:
            end = max(info.offset_data + -(-info.size // 512) * 512 for info in archive)
        for size in range(0, end + 512, 37):
            tar.write_bytes(data[:size])
            error = refused(tar)
            assert error.rule == "files"
            assert "expected a whole tar archive, found one that ends too early" in str(error)


def _record(key: str, value: str) -> bytes:
    """One record of an extended header; its own length counts."""
    body = f" {key}={value}\n"
    length = len(body) + len(str(len(body) + 2))
    return f"{length}{body}".encode()
