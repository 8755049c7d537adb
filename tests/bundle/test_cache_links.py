"""Links in a bundle: DVC's own to its cache are followed where the caller says so, every other is refused."""

import hashlib
import os

import pytest

from sacpipe.bundle.files import bundle_digest, read_files
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import BundleError, GateError
from sacpipe.rollout.sources import PathSource, read_source

FILES = ["contract.json", "golden.npz", "manifest.json", "policy.onnx"]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def to_cache(folder, cache, names=FILES):
    """Replace files by links into a cache, as DVC does with `cache.type symlink`."""
    for name in names:
        md5 = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
        target = cache / "files" / "md5" / md5[:2] / md5[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).replace(target)
        target.chmod(0o444)
        (folder / name).symlink_to(target)
    return folder


@pytest.fixture
def linked(bundle, tmp_path):
    """A bundle whose files are links into a cache, and its bytes."""
    before = contents(bundle)
    return to_cache(bundle, tmp_path / "cache"), before


def test_an_own_output_is_read_through_its_links(linked):
    folder, before = linked
    assert read_files(folder, follow_cache_links=True) == before
    assert open_bundle(folder, follow_cache_links=True).policy_onnx == before["policy.onnx"]
    assert (
        bundle_digest(folder, follow_cache_links=True) == hashlib.sha256(before["manifest.json"]).hexdigest()
    )
    assert PathSource(folder, allow_hard_links=True, follow_cache_links=True).resolve().pull() == before


def test_the_cache_may_be_reached_through_a_link_and_other_files_may_be_plain(bundle, tmp_path):
    before = contents(bundle)
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    to_cache(bundle, tmp_path / "cache", ["policy.onnx"])
    assert read_files(bundle, follow_cache_links=True) == before


@pytest.mark.parametrize("read", [read_files, open_bundle, bundle_digest])
def test_a_foreign_bundle_with_the_same_links_is_refused(linked, read):
    with pytest.raises(BundleError):
        read(linked[0])


@pytest.mark.parametrize("hard", [True, False])
def test_a_source_of_a_robot_refuses_them(linked, hard):
    with pytest.raises(GateError) as refusal:
        read_source(linked[0], allow_hard_links=hard)
    assert refusal.value.rule == "links"
    assert "Copy the folder with `cp -rL`" in str(refusal.value)


def elsewhere(folder, name):
    target = folder.parent / name
    (folder / name).rename(target)
    (folder / name).symlink_to(target)


def changed(folder, name):
    to_cache(folder, folder.parent / "cache", [name])
    target = (folder / name).resolve()
    target.chmod(0o644)
    target.write_bytes(target.read_bytes() + b" ")


def chain(folder, name):
    """A link to an object that is itself a link."""
    to_cache(folder, folder.parent / "cache", [name])
    target = (folder / name).resolve()
    target.rename(folder.parent / name)
    target.symlink_to(folder.parent / name)


def device(folder, name):
    target = folder.parent / "cache" / "files" / "md5" / "d4" / "1d8cd98f00b204e9800998ecf8427e"
    target.parent.mkdir(parents=True)
    target.symlink_to("/dev/null")
    (folder / name).unlink()
    (folder / name).symlink_to(target)


def pipe(folder, name):
    target = folder.parent / "files" / "md5" / "aa" / ("b" * 30)
    target.parent.mkdir(parents=True)
    os.mkfifo(target)
    (folder / name).unlink()
    (folder / name).symlink_to(target)


def gone(folder, name):
    to_cache(folder, folder.parent / "cache", [name])
    (folder / name).resolve().unlink()


def large(folder, name):
    target = folder.parent / "files" / "md5" / "aa" / ("b" * 30)
    target.parent.mkdir(parents=True)
    target.touch()
    os.truncate(target, 2**40)
    (folder / name).unlink()
    (folder / name).symlink_to(target)


def climbs(folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to(f"../files/md5/aa/{'b' * 30}/../../../../../../etc/passwd")


@pytest.mark.parametrize("forge", [elsewhere, changed, chain, device, pipe, gone, large, climbs])
@pytest.mark.parametrize("name", ["policy.onnx", "manifest.json"])
def test_what_is_no_intact_object_of_a_cache_is_refused_in_an_own_output_too(bundle, forge, name):
    forge(bundle, name)
    with pytest.raises(BundleError, match=name):
        read_files(bundle, follow_cache_links=True)
