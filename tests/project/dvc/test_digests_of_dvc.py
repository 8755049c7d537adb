"""Our digests of files and folders are DVC's own, whatever the files hold and are called."""

import os

import pytest
from ruamel.yaml import YAML

from sacpipe.project.dvc.commands import DvcStore
from sacpipe.project.stage_key import DiskTree, dvc_md5

ODD_NAMES = [
    "a b",
    "a.b",
    "a/b",
    "a-b/c",
    "a",
    "\u00e9\u00df",
    "e\u0301",
    "\u65e5\u672c",
    "'quote\"",
    "#hash",
    "%41",
    "new\nline",
    "tab\t",
    "back\\slash",
]


def make(root, names):
    for number, name in enumerate(names):
        path = root / "data" / name
        path = path / "file" if name == "a" else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))


def nested(root):
    for name in ("one", "x/one", "x/y/one", "x/y/z/two", "w/.hidden"):
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_text(name)
    (root / "data" / "x" / "empty").mkdir()


def linked(root):
    nested(root)
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "file").write_text("outside")
    (root / "data" / "link").symlink_to(root / "elsewhere" / "file")
    (root / "data" / "folder").symlink_to(root / "elsewhere")


def ignored(root):
    nested(root)
    (root / ".dvcignore").write_text("*.pyc\n/data/x/y\n!keep.pyc\n")
    for name in ("a.pyc", "keep.pyc", "x/b.pyc", ".git/config"):
        (root / "data" / name).parent.mkdir(exist_ok=True)
        (root / "data" / name).write_text(name)


def one_file(data):
    return lambda root: (root / "data").write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fill",
    [
        one_file(b""),
        one_file(b"unix\nlines\n"),
        one_file(b"dos\r\nlines\r\nand\rmac\n"),
        one_file(bytes(range(256)) * 9000),
        lambda root: make(root, ODD_NAMES),
        nested,
        linked,
        ignored,
    ],
    ids=["empty", "text", "CRLF", "binary", "odd names", "nested", "links", "ignored"],
)
def test_a_digest_is_dvcs(tmp_path, fill):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n no_scm = true\n analytics = false\n")
    fill(tmp_path)
    expected = dvc_md5(DiskTree(tmp_path), "data")
    DvcStore(tmp_path, {"DVC_SITE_CACHE_DIR": os.fspath(tmp_path / ".dvc" / "site")}).add(tmp_path / "data")
    (tracked,) = YAML(typ="safe").load(tmp_path / "data.dvc")["outs"]
    assert (tracked["hash"], tracked["md5"]) == ("md5", expected)
