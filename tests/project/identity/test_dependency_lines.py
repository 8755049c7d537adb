"""The lines of dvc.yaml between two comments are replaced; all others stay, byte for byte."""

import pytest

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError
from sacpipe.project.identity.dependency_lines import (
    StageNeeds,
    listed_needs,
    missing_lines,
    write_dependency_lines,
)

GRAPH = """\
# My graph.
stages:
  train:
    cmd: python -m pipelines.stages.train
    deps:
      - data/terrain  # mine
      # sacpipe lock: begin
      - old.py
      # sacpipe lock: end
    params:
      - seed
      # sacpipe lock: begin
      # sacpipe lock: end
    outs:
      - out/train/policy.safetensors

  export:
    cmd: python -m pipelines.stages.export
    deps:
      - out/train/policy.safetensors
      # sacpipe lock: begin
      # sacpipe lock: end
    params:
      # sacpipe lock: begin
      - versions.lock: [numpy]
      # sacpipe lock: end
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    return tmp_path


def needs(*files, packages=()):
    return StageNeeds(frozenset(files), frozenset(packages))


def test_enclosed_lines_are_replaced_and_all_others_stay(root):
    needed = needs(
        "my task.py", "arm.xml", "data/terrain/hills.npz", "it's.yaml", packages=["torch", "numpy"]
    )
    assert write_dependency_lines(root, {"train": needed}) == ["train"]
    text = (root / "dvc.yaml").read_text()
    assert text == GRAPH.replace(
        "      - old.py\n", "      - arm.xml\n      - 'it''s.yaml'\n      - 'my task.py'\n"
    ).replace(
        "      - seed\n      # sacpipe lock: begin\n",
        "      - seed\n      # sacpipe lock: begin\n      - versions.lock: [numpy, torch]\n",
    )
    assert read_yaml(root / "dvc.yaml")["stages"]["train"]["deps"][1:] == [
        "arm.xml",
        "it's.yaml",
        "my task.py",
    ]
    assert missing_lines(listed_needs(root, "train"), needed) == []


def test_second_time_changes_nothing(root):
    needed = {"train": needs("a.py"), "export": needs(packages=["numpy", "onnx"])}
    assert write_dependency_lines(root, needed) == ["train", "export"]
    before = (root / "dvc.yaml").stat().st_mtime_ns
    assert write_dependency_lines(root, needed) == []
    assert (root / "dvc.yaml").stat().st_mtime_ns == before


def test_what_is_missing_is_reported_as_the_lines_to_add(root):
    lines = missing_lines(
        listed_needs(root, "train"), needs("data/terrain/x", "b.py", "old.py", packages=["numpy"])
    )
    assert lines == ["- b.py", "- versions.lock: [numpy]"]


def test_stage_without_the_comments_gets_the_lines_in_the_message(root):
    (root / "dvc.yaml").write_text(
        GRAPH.replace("      # sacpipe lock: begin\n      - old.py\n      # sacpipe lock: end\n", "")
    )
    with pytest.raises(ConfigError, match=r"'train' has no lines .* under `deps`(.|\n)*      - a\.py"):
        write_dependency_lines(root, {"train": needs("a.py")})
    assert "a.py" not in (root / "dvc.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("      - old.py\n      # sacpipe lock: end\n", "      - old.py\n"),
        ("      # sacpipe lock: begin\n      - old.py\n", "      - old.py\n"),
        ("      - old.py\n", "      # sacpipe lock: end\n      # sacpipe lock: begin\n      - old.py\n"),
        ("numpy]\n      # sacpipe lock: end\n", "numpy]\n"),
    ],
)
def test_comment_line_without_its_other_one_is_refused_and_nothing_is_lost(root, old, new):
    text = GRAPH.replace(old, new)
    assert text != GRAPH
    (root / "dvc.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"dvc\.yaml, line \d+: expected one line"):
        write_dependency_lines(root, {"train": needs("a.py"), "export": needs("a.py")})
    assert (root / "dvc.yaml").read_text() == text


def test_file_whose_name_is_a_number_or_a_constant_is_named(root):
    needed = needs("123", "1.5", "true", "x: #y")
    assert missing_lines(listed_needs(root, "train"), needed) == [
        "- '1.5'",
        "- '123'",
        "- 'true'",
        "- 'x: #y'",
    ]
    write_dependency_lines(root, {"train": needed})
    assert missing_lines(listed_needs(root, "train"), needed) == []
