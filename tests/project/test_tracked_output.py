"""An output of DVC is found under every name that it has, and nothing else is taken for one."""

from pathlib import Path

import pytest

from sacpipe.project.tracked_output import find_tracked_output

DVC_YAML = """
stages:
  export:
    cmd: make
    outs:
      - out/export/bundle
      - release/signed: {cache: false}
    metrics:
      - out/export/metrics.json: {cache: false}
  elsewhere:
    cmd: make
    wdir: sub
    outs: [made]
  each:
    foreach: [a, b]
    do:
      cmd: make
      outs: ["out/${item}", out/fixed]
  broken: 7
vars: [1]
"""
DVC_LOCK = """
schema: '2.0'
stages:
  each@a:
    cmd: make
    outs:
    - {path: out/a, hash: md5, md5: 00.dir}
"""
POINTER = "outs:\n- {md5: 00.dir, path: pool}\n"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    for name in (
        "out/export/bundle",
        "out/a",
        "out/fixed",
        "sub/made",
        "release/signed",
        "data/pool",
        "copy",
    ):
        (folder / name).mkdir(parents=True)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "dvc.lock").write_text(DVC_LOCK)
    (folder / "data" / "pool.dvc").write_text(POINTER)
    (folder / ".dvc").mkdir()
    return folder


TRACKED = ["out/export/bundle", "out/a", "out/fixed", "sub/made", "release/signed", "data/pool"]


@pytest.mark.parametrize("name", TRACKED)
def test_each_kind_of_output_is_found(project, name):
    assert find_tracked_output(project / name) == project / name


@pytest.mark.parametrize("name", ["copy", "sub/other", "out/b", "data/pool2", "out/export/bundle2", "data"])
def test_a_folder_beside_an_output_is_none(project, name):
    found = find_tracked_output(project / name)
    assert found is None or project / name in found.parents


def test_what_is_inside_an_output_or_holds_one_is_found(project):
    assert find_tracked_output(project / "out/export/bundle/deeper") == project / "out/export/bundle"
    assert find_tracked_output(project / "data") == project / "data/pool"


@pytest.mark.parametrize(
    "name",
    ["out/export/bundle", "./out/export/bundle/", "sub/../out/export/bundle", "out/export/../export/bundle"],
)
def test_a_relative_path_is_found(project, monkeypatch, name):
    monkeypatch.chdir(project)
    assert find_tracked_output(Path(name)) == project / "out/export/bundle"
    monkeypatch.chdir(project / "out/export/bundle")
    assert find_tracked_output(Path()) == project / "out/export/bundle"


def test_a_link_to_an_output_is_found(project, tmp_path):
    (tmp_path / "release").symlink_to(project / "out/export/bundle")
    (tmp_path / "again").symlink_to("release")
    for name in ("release", "again"):
        assert find_tracked_output(tmp_path / name) == project / "out/export/bundle"


def test_an_output_that_is_a_link_to_another_disk_is_found(project, tmp_path):
    (tmp_path / "disk").mkdir()
    (project / "out/export/bundle").rmdir()
    (project / "out/export/bundle").symlink_to(tmp_path / "disk")
    assert find_tracked_output(project / "out/export/bundle") == project / "out/export/bundle"
    assert find_tracked_output(tmp_path / "disk") is None  # nothing there names the project


@pytest.mark.parametrize(
    "text",
    ["", "7", "stages: 7", "stages: {a: {outs: 7}}", "stages: [", "\x00", "stages: {a: {outs: [7, {}]}}"],
)
def test_files_of_dvc_that_are_damaged_name_no_output(project, text):
    (project / "dvc.yaml").write_text(text)
    assert find_tracked_output(project / "out/export/bundle") is None
    assert find_tracked_output(project / "out/a") == project / "out/a"


def test_a_path_that_does_not_exist_is_none(tmp_path):
    assert find_tracked_output(tmp_path / "nothing" / "there") is None
