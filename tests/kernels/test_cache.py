"""A library is loaded from a folder of this user alone, and with the bytes that it was built with."""

import os

import pytest

from sacpipe.core.errors import KernelError
from sacpipe.kernels.cache import cache_folder, check_private, is_intact, keep


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_folder_is_made_for_this_user_alone(base):
    before = os.umask(0)
    try:
        folder = cache_folder()
    finally:
        os.umask(before)
    assert folder == base / "sacpipe" / "kernels"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    ("name", "mode"),
    [("kernels", 0o770), ("kernels", 0o702), ("kernels", 0o740), (".", 0o775), (".", 0o707)],
)
def test_a_folder_that_others_may_write_is_refused(name, mode):
    folder = cache_folder().parent / name
    folder.chmod(mode)
    with pytest.raises(KernelError, match=rf"of mode {mode:04o}.*chmod 700.*XDG_CACHE_HOME"):
        cache_folder()
    folder.chmod(0o700)
    assert cache_folder()


def test_a_folder_of_another_user_is_refused():
    with pytest.raises(KernelError, match=f"owned by user {os.geteuid()}, and must be owned by"):
        check_private(cache_folder(), os.geteuid() + 1, writable_mode=0o077)


@pytest.mark.parametrize("name", ["sacpipe", "sacpipe/kernels"])
def test_a_symbolic_link_is_refused(base, tmp_path, name):
    target = tmp_path / "elsewhere"
    target.mkdir(mode=0o700)
    (base / name).parent.mkdir(parents=True, mode=0o700)
    (base / name).symlink_to(target)
    with pytest.raises(KernelError, match="a symbolic link"):
        cache_folder()


def test_a_file_in_its_place_is_refused(base):
    base.mkdir()
    (base / "sacpipe").write_text("")
    with pytest.raises(KernelError, match="cannot be kept in .*Set XDG_CACHE_HOME"):
        cache_folder()


@pytest.mark.parametrize("chosen", ["", "here", "../here"])
def test_the_home_is_used_where_xdg_cache_home_names_no_absolute_path(tmp_path, monkeypatch, chosen):
    monkeypatch.setenv("XDG_CACHE_HOME", chosen)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert cache_folder() == tmp_path / "home" / ".cache" / "sacpipe" / "kernels"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


@pytest.mark.parametrize("home", [None, "", "home"])
def test_without_a_home_the_message_names_xdg_cache_home(tmp_path, monkeypatch, home):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    with pytest.raises(KernelError, match="HOME is not set.*Set XDG_CACHE_HOME"):
        cache_folder()


def test_an_unwritable_home_is_refused(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/proc/self")  # not even root can make a folder there
    with pytest.raises(KernelError, match="cannot be kept in .*Set XDG_CACHE_HOME"):
        cache_folder()


@pytest.fixture
def library(tmp_path):
    (tmp_path / "built").write_bytes(b"machine code" * 100)
    keep(tmp_path / "built", tmp_path / "library.so")
    return tmp_path / "library.so"


def sidecar(library):
    return library.with_name("library.so.sha256")


def test_a_library_is_intact_as_it_was_kept(library):
    assert is_intact(library)
    assert {path.name for path in library.parent.iterdir()} == {"library.so", "library.so.sha256"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda library: library.write_bytes(library.read_bytes()[:-1]),
        lambda library: library.write_bytes(b"other"),
        lambda library: library.unlink(),
        lambda library: sidecar(library).unlink(),
        lambda library: sidecar(library).write_text("0" * 64 + "\n"),
        lambda library: sidecar(library).write_bytes(b"\xff"),
        lambda library: sidecar(library).write_text(""),
    ],
)
def test_a_damaged_library_or_sidecar_is_seen(library, damage):
    damage(library)
    assert not is_intact(library)
