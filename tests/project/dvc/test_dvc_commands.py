"""DVC as this project uses it, on real repositories of one small stage."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sacpipe.core.errors import ConfigError, InterruptedRunError, StageError, StoreError
from sacpipe.project.dvc.commands import DvcStore, Outcome
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.dvc.stale_locks import remove_stale_locks

GRAPH = """
stages:
  train:
    cmd: python stage.py
    deps: [stage.py]
    params: [seed, mood]
    outs: [out/policy, out/pool]
    metrics: [{out/metrics.json: {cache: false}}]
"""
STAGE = """
import json, os, pathlib, signal, sys, time
text = pathlib.Path("params.yaml").read_text()
mood = text.split("mood:")[1].split()[0]
seed = text.split("seed:")[1].split()[0]
out = pathlib.Path("out")
(out / "pool").mkdir(parents=True)
print("at work", flush=True)
if mood == "refuse":
    (out / "pool" / "half").write_text("junk")
    error = {"message": "mood: expected calm, found refuse\\nsecond line", "exit_code": 2, "retryable": False}
    pathlib.Path(os.environ["SACPIPE_STAGE_ERROR"]).write_text(json.dumps(error))
    sys.exit(2)
if mood == "fail":
    sys.stderr.write("a traceback\\nand its cause\\n")
    sys.exit(1)
if mood == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if mood == "slow":
    def stop(*_):
        pathlib.Path("checkpoint").write_text("done")
        sys.exit(3)
    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    time.sleep(60)
(out / "policy").write_text(f"policy {seed}")
(out / "pool" / "segment").write_text(f"segment {seed}")
(out / "metrics.json").write_text(f'{{"seed": {seed}}}')
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose stage ran once, with seed 1. Tests work on copies."""
    root = tmp_path_factory.mktemp("trained")
    (root / ".dvc").mkdir()
    site = tmp_path_factory.mktemp("site")
    config = f"[core]\n no_scm = true\n check_update = false\n analytics = false\n site_cache_dir = {site}\n"
    (root / ".dvc" / "config").write_text(config)
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "stage.py").write_text(STAGE)
    (root / "params.yaml").write_text("seed: 1\nmood: calm\n")
    lines: list[str] = []
    assert DvcStore(root).reproduce("train", on_output=lines.append) is Outcome.RAN
    assert "at work" in lines
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def other_process() -> Iterator[int]:
    """The id of a running process that is not dvc."""
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def dvc(root: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, check=True
    )
    return result.stdout


def set_params(root: Path, seed: int = 1, mood: str = "calm") -> None:
    (root / "params.yaml").write_text(f"seed: {seed}\nmood: {mood}\n")


def outputs(root: Path) -> dict[str, str]:
    files = sorted(path for path in (root / "out").rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_text() for path in files}


FIRST = {"out/metrics.json": '{"seed": 1}', "out/policy": "policy 1", "out/pool/segment": "segment 1"}


def test_a_stage_runs_then_stays_and_comes_back_from_the_cache(root: Path) -> None:
    store = DvcStore(root)
    assert store.reproduce("train") is Outcome.UNCHANGED
    set_params(root, seed=2)
    assert list(json.loads(dvc(root, "status", "--json"))) == ["train"]
    assert store.reproduce("train") is Outcome.RAN
    assert json.loads(dvc(root, "status", "--json")) == {}
    set_params(root, seed=1)
    assert store.reproduce("train") is Outcome.RESTORED
    assert outputs(root) == FIRST
    (root / "out" / "policy").unlink()
    assert store.reproduce("train") is Outcome.RESTORED  # although dvc.lock does not change
    assert outputs(root) == FIRST


def test_force_runs_a_stage_that_is_up_to_date_or_cached(root: Path) -> None:
    store = DvcStore(root)
    assert store.reproduce("train", force=True) is Outcome.RAN
    set_params(root, seed=2)
    store.reproduce("train")
    set_params(root, seed=1)
    assert store.reproduce("train", force=True) is Outcome.RAN
    assert outputs(root) == FIRST


def test_an_isolated_folder_uses_no_cache_but_its_own(root: Path, tmp_path: Path) -> None:
    config = root / ".dvc" / "config"
    config.write_text(
        f"[core]\n analytics = false\n[cache]\n dir = {tmp_path / 'shared'}\n"
    )  # and git is none
    (root / ".dvc" / "cache").rename(tmp_path / "shared")
    store = DvcStore(root).isolated()
    (root / "out" / "policy").unlink()
    (tmp_path / "older").mkdir()
    with pytest.raises(StoreError, match="cache lacks"):
        store.place(read_lock(store.root / "dvc.lock"), tmp_path / "older")
    assert store.reproduce("train") is Outcome.RAN
    assert outputs(root) == FIRST
    assert (root / ".dvc" / "site").is_dir()


@pytest.mark.parametrize("name", ["a%20b #c", 'say "yes", d=e?'])
def test_an_older_output_is_placed_from_a_project_in_a_folder_of_any_name(
    trained: Path, tmp_path: Path, name: str
) -> None:
    store = DvcStore(shutil.copytree(trained, tmp_path / name))
    store.place(read_lock(store.root / "dvc.lock"), tmp_path / "older")
    assert (tmp_path / "older" / "out" / "policy").read_text() == "policy 1"


def test_a_refusal_carries_the_stages_own_message_and_keeps_the_outputs(root: Path) -> None:
    set_params(root, mood="refuse")
    with pytest.raises(StageError) as caught:
        DvcStore(root).reproduce("train")
    assert str(caught.value) == "mood: expected calm, found refuse\nsecond line"
    assert (caught.value.exit_code, caught.value.retryable) == (2, False)
    assert outputs(root) == FIRST


def test_a_failure_without_a_message_shows_the_last_lines(root: Path) -> None:
    set_params(root, mood="fail")
    with pytest.raises(
        StageError, match="failed with exit code 1. Its last lines:\na traceback\nand its cause$"
    ):
        DvcStore(root).reproduce("train")
    assert outputs(root) == FIRST


def test_a_first_run_that_fails_leaves_no_half_files(root: Path) -> None:
    shutil.rmtree(root / "out")
    (root / "dvc.lock").unlink()
    set_params(root, mood="killed")
    with pytest.raises(StageError, match=r"killed .SIGKILL.; the machine may be out of memory") as caught:
        DvcStore(root).reproduce("train")
    assert (caught.value.exit_code, caught.value.retryable) == (3, True)
    assert outputs(root) == {}


@pytest.mark.parametrize(("mood", "tail"), [("killed", b"\r\x1b[K\x1b[?25h"), ("calm", b"")])
def test_the_cursor_of_a_terminal_is_at_the_begin_of_a_line_after_a_failure(
    root: Path, mood: str, tail: bytes
) -> None:
    set_params(root, seed=2, mood=mood)
    script = "from pathlib import Path; from sacpipe.project.dvc.commands import DvcStore; "
    script += "import contextlib\nwith contextlib.suppress(Exception): DvcStore(Path()).reproduce('train')"
    own, others = pty.openpty()
    subprocess.run([sys.executable, "-c", script], cwd=root, stderr=others, check=True, timeout=60)
    os.write(others, b".")
    seen = b""
    while not seen.endswith(b"."):
        seen += os.read(own, 1000)
    assert seen.endswith(tail + b".")
    assert (b"\x1b[?25h" in seen) == bool(tail)
    os.close(own)
    os.close(others)


def test_ctrl_c_writes_a_checkpoint_and_keeps_what_was_there(root: Path) -> None:
    def interrupt(line: str) -> None:
        if line == "ready":
            raise KeyboardInterrupt

    set_params(root, mood="slow")
    with pytest.raises(InterruptedRunError, match="continues from its last checkpoint"):
        DvcStore(root).reproduce("train", on_output=interrupt)
    assert (root / "checkpoint").read_text() == "done"
    assert outputs(root) == FIRST


def test_a_missing_parameter_is_a_fault_of_params_yaml(root: Path) -> None:
    (root / "params.yaml").write_text("mood: calm\n")
    with pytest.raises(ConfigError, match=r"Parameters 'seed' are missing from 'params.yaml'"):
        DvcStore(root).reproduce("train")
    (root / "params.yaml").write_text("seed: [1\n")
    with pytest.raises(
        ConfigError, match=r"^unable to read: 'params.yaml', YAML file structure is corrupted"
    ):
        DvcStore(root).reproduce("train")
    assert outputs(root) == FIRST


def test_push_sends_all_that_a_pull_fetches(root: Path, tmp_path: Path) -> None:
    store = DvcStore(root)
    with pytest.raises(StoreError, match=r"no remote specified.*dvc remote add -d"):
        store.push()
    config = root / ".dvc" / "config"
    config.write_text(
        f"{config.read_text()} remote = local\n['remote \"local\"']\n url = {tmp_path}/remote\n"
    )
    assert re.fullmatch(f"DVC 3.* remote 'local' at {tmp_path}/remote", store.describe())
    assert store.push() == "4 files pushed"
    shutil.rmtree(root / "out")
    shutil.rmtree(root / ".dvc" / "cache")
    with pytest.raises(StoreError, match=r"Checkout failed.*`dvc pull` fetches them"):
        store.place(read_lock(store.root / "dvc.lock"), tmp_path / "older")
    dvc(root, "pull")
    assert outputs(root) == {name: text for name, text in FIRST.items() if "metrics" not in name}


def test_a_second_dvc_process_in_the_folder_is_an_error_that_names_it(root: Path) -> None:
    holder = (
        "import zc.lockfile; lock = zc.lockfile.LockFile('.dvc/tmp/lock'); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        words = rf"Another dvc process \(process {process.pid}\) works in this folder"
        with pytest.raises(StoreError, match=words) as caught:
            DvcStore(root).reproduce("train")
        assert "\x1b" not in str(caught.value)
        assert isinstance(DvcStore(root).garbage([], (), remove=False), list)  # a list waits for none
        process.kill()
    assert outputs(root) == FIRST


@pytest.mark.slow
def test_a_folder_without_dvc_says_how_to_set_it_up(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    with pytest.raises(StoreError, match="run `dvc init`"):
        DvcStore(tmp_path).reproduce("train")
    with pytest.raises(ConfigError, match="no stage 'fly'"):
        DvcStore(tmp_path).reproduce("fly")


def test_a_lock_whose_process_id_belongs_to_another_program_is_removed(
    root: Path, other_process: int
) -> None:
    path = root / ".dvc" / "tmp" / "rwlock"
    owner = {"pid": other_process, "cmd": "dvc repro train"}
    path.write_text(json.dumps({"write": {str(root / "out" / "pool"): owner}, "read": {"a": [owner]}}))
    remove_stale_locks(root)
    assert json.loads(path.read_text()) == {"write": {}, "read": {}}


def test_a_lock_of_a_running_dvc_stays(root: Path) -> None:
    path = root / ".dvc" / "tmp" / "rwlock"
    script = "print(flush=True); input()  # dvc"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # before it runs, the system may not know its command line yet
        locks = {"write": {"a": {"pid": process.pid, "cmd": "dvc repro"}}, "read": {}}
        path.write_text(json.dumps(locks))
        remove_stale_locks(root)
        process.kill()
    assert json.loads(path.read_text()) == locks


def test_a_lock_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    assert read_lock(path) == {}
    path.write_text("schema: '1.0'\n")
    with pytest.raises(StoreError, match=r"expected schema 2.0, found schema 1.0"):
        read_lock(path)
    path.write_text("a: [1")
    with pytest.raises(StoreError, match="cannot be read"):
        read_lock(path)


def test_the_python_of_a_stage_is_this_one(root: Path) -> None:
    (root / "dvc.yaml").write_text("stages: {which: {cmd: python which.py, outs: [which.txt]}}")
    (root / "which.py").write_text("import pathlib, sys; pathlib.Path('which.txt').write_text(sys.prefix)")
    assert DvcStore(root, {"PATH": os.defpath}).reproduce("which") is Outcome.RAN
    assert (root / "which.txt").read_text() == sys.prefix
