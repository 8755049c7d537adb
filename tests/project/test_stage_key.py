"""The key a stage computes for itself is the key dvc.lock gives afterwards."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repository import ROOT

from sacpipe.core.errors import ConfigError, StoreError
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.stage_key import (
    DiskTree,
    StageInputs,
    locked_inputs,
    locked_outs,
    stage_inputs,
    stage_key,
)
from sacpipe.project.workspace import Workspace

GRAPH = """
stages:
  train:
    cmd: python stage.py train
    deps: [code, stage.py, code/../données]
    params: [seed, numbers, texts, nested.deep, nested.rows.1, {other.yaml: [a]}, {whole.yaml: }]
    outs: [out/train/pool, out/train/policy]
  export:
    cmd:
      - python stage.py export
      - python stage.py export
    deps: [out/train/pool, out/train/policy]
    outs: [out/export]
  bare:
    cmd: |
      python stage.py bare
      true
    deps: [stage.py]
    outs: [out/bare]
"""
STAGE = """
import pathlib, shutil, sys
sys.path.insert(0, "PROJECT")
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace
name = sys.argv[1]
work = pathlib.Path("work")
work.mkdir(exist_ok=True)
(work / name).write_text(stage_key(Workspace.find(), name))
out = pathlib.Path("out") / name
if name == "train":
    (out / "pool" / "deep" / "er").mkdir(parents=True)
    (out / "policy").write_text("policy")
    for file in ("b", "a", "deep/z", "deep/er/\\u00e9", "B"):
        (out / "pool" / file).write_text(file)
else:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(name)
"""
PARAMS = """
seed: 7
unrelated: 1
numbers: [0, -3, 1.0, 0.1, 1e-3, 3.0e-05, 1e20, 12345678901234567, 0x1F, 1_0, .5, +2.5e+3]
texts: [yes, 'no', "1e-3", '1.0', ünï, "two\\nlines", null, true, ~, '', 12-30, 0o7]
nested:
  deep: {b: [1, {c: 2.5, d: []}], a: {}}
  rows: [zero, {one: 1.5}]
  hidden: 1
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A repository of three stages that ran once."""
    root = tmp_path_factory.mktemp("project")
    site = tmp_path_factory.mktemp("site")
    (root / ".dvc").mkdir()
    config = f"[core]\n no_scm = true\n check_update = false\n analytics = false\n site_cache_dir = {site}\n"
    (root / ".dvc" / "config").write_text(config)
    (root / ".dvcignore").write_text("# noise\n__pycache__/\n*.py[cod]\n!keep.pyc\n/code/only_here\n")
    for name, text in {
        "dvc.yaml": GRAPH,
        "params.yaml": PARAMS,
        "other.yaml": "a: {x: 1}\nb: 2\n",
        "whole.yaml": "p: 1\nq: [1.5, 2]\n",
        "stage.py": STAGE.replace("PROJECT", str(ROOT)),
        "code/a.py": "a",
        "code/sub/b.py": "b\r\n",
        "code/sub/only_here": "kept",
        "code/only_here": "ignored",
        "code/keep.pyc": "kept",
        "code/__pycache__/a.pyc": "ignored",
        "code/sub/__pycache__/b.cpython.pyc": "ignored",
        "code/.hidden": "kept",
        "données/é.txt": "x",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    repro(root)
    return Workspace(root)


def repro(root: Path) -> None:
    dvc = Path(sys.executable).with_name("dvc")
    path = f"{dvc.parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "DVC_NO_ANALYTICS": "1", "PATH": path}
    result = subprocess.run(
        [dvc, "repro"], cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def assert_keys_agree(workspace: Workspace) -> None:
    entries = read_lock(workspace.dvc_lock)
    assert sorted(entries) == ["bare", "export", "train"]
    for stage, entry in entries.items():
        assert stage_inputs(DiskTree(workspace.root), stage) == locked_inputs(entry)
        assert stage_key(workspace, stage) == locked_inputs(entry).key


@pytest.mark.slow
def test_the_key_from_disk_is_the_key_in_the_lock_before_and_after_edits(workspace: Workspace) -> None:
    root = workspace.root
    assert_keys_agree(workspace)
    first = stage_key(workspace, "train")
    assert (root / "work" / "train").read_text() == first  # what the stage found while it ran

    (root / "code" / "__pycache__" / "new.pyc").write_text("noise")
    (root / "params.yaml").write_text(
        PARAMS.replace("unrelated: 1", "unrelated: 2").replace("hidden: 1", "hidden: 2")
    )
    (root / "other.yaml").write_text("a: {x: 1.0}\nb: 3\n")
    assert stage_key(workspace, "train") == first  # nothing the stage reads has another value

    (root / "code" / "sub" / "c.py").write_text("c")
    (root / "params.yaml").write_text(PARAMS.replace("c: 2.5", "c: 2.75"))
    second = stage_key(workspace, "train")
    assert second != first
    repro(root)
    assert_keys_agree(workspace)
    assert (root / "work" / "train").read_text() == second


@pytest.mark.slow
def test_outputs_of_the_lock_are_what_the_next_stage_depends_on(workspace: Workspace) -> None:
    entries = read_lock(workspace.dvc_lock)
    outs = locked_outs(entries["train"])
    assert outs == locked_inputs(entries["export"]).deps
    assert outs["out/train/pool"].endswith(".dir")
    assert len(outs["out/train/pool"]) == 36


def test_a_stage_whose_dependency_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: x, deps: [gone]}}")
    with pytest.raises(ConfigError, match=r"gone is missing\. `dvc repro` makes it"):
        stage_key(Workspace(tmp_path), "a")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("{cmd: x, params: [a.c]}", "params.yaml: 'a.c' is missing; stage 'train'"),
        ("{cmd: x, params: [a.b.c]}", "params.yaml: 'a.b.c' is missing"),
        ("{cmd: x, params: [rows.7]}", "params.yaml: 'rows.7' is missing"),
        ("{cmd: x, params: [day]}", "holds a value that JSON cannot hold"),
        ("{cmd: x, params: [limit]}", "holds a value that JSON cannot hold"),
        ("{cmd: 'x ${a}'}", "does not read"),
        ("{cmd: x, wdir: sub}", "uses wdir, which the stage key does not read"),
    ],
)
def test_what_the_key_cannot_hold_is_refused_by_name(tmp_path: Path, stage: str, message: str) -> None:
    (tmp_path / "dvc.yaml").write_text(f"stages: {{train: {stage}}}")
    (tmp_path / "params.yaml").write_text("a: {b: 1}\nrows: [1]\nday: 2026-01-01\nlimit: .inf\n")
    with pytest.raises(ConfigError, match=message.replace("$", r"\$")):
        stage_key(Workspace(tmp_path), "train")


def test_an_unknown_stage_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: x}, b: {cmd: y}}")
    with pytest.raises(ConfigError, match="no stage 'c'; it has a, b"):
        stage_key(Workspace(tmp_path), "c")


def test_a_lock_without_digests_is_refused() -> None:
    with pytest.raises(StoreError, match="'x' has no md5"):
        locked_inputs({"cmd": "a", "deps": [{"path": "x", "etag": "1"}]})


def inputs(value: object) -> StageInputs:
    return StageInputs("x", {}, {"params.yaml": {"a": value}})


def test_every_part_of_the_inputs_moves_the_key() -> None:
    base = StageInputs("x", {"a": "1"}, {"params.yaml": {"a": 1}})
    others = [
        StageInputs("y", base.deps, base.params),
        StageInputs(base.cmd, {"a": "2"}, base.params),
        StageInputs(base.cmd, {"b": "1"}, base.params),
        StageInputs(base.cmd, base.deps, {"params.yaml": {"a": 2}}),
        StageInputs(base.cmd, base.deps, {"other.yaml": {"a": 1}}),
    ]
    assert len({base.key, *(other.key for other in others)}) == 6
    assert base.params_digest == others[0].params_digest == others[1].params_digest
    assert base.params_digest != others[3].params_digest


numbers = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False))


@given(numbers, numbers)
def test_numbers_dvc_calls_equal_have_one_key_and_others_have_two(a: float, b: float) -> None:
    exact = all(abs(value) <= 2**53 for value in (a, b))
    if a == b and exact:
        assert inputs(a).key == inputs(b).key
    if a != b:
        assert inputs([a]).key != inputs([b]).key
    assert inputs(1).key == inputs(1.0).key
    assert inputs(math.nextafter(1.0, 2.0)).key != inputs(1).key
