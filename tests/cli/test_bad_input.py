"""Every bad input ends with one clear message and the right exit code, and changes no output."""

import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading

import pytest
from folder_digest import sha256_tree
from small_project import environment, sacpipe, with_values

from sacpipe.project.workspace import Workspace, run_lock

PRESENT = ("out/train", "out/export", "out/evaluate")


def digests(folder):
    return [sha256_tree(folder / part) for part in PRESENT]


def replace(folder, old, new):
    """Replace a text of params.yaml, or its task by SUITE/ID."""
    text = (folder / "params.yaml").read_text()
    if old == "task":
        suite, _, task_id = new.partition("/")
        changed = with_values(text, suite=suite, id=task_id)
    else:
        assert old in text
        changed = text.replace(old, new)
    (folder / "params.yaml").write_text(changed)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  discount:", "  dicsount:", r"algorithm\.dicsount: unknown key; expected one of .*discount"),
        (
            "  discount: 0.99",
            "  discount: high",
            r"algorithm\.discount: Input should be a valid number.*'high'",
        ),
        ("  discount: 0.99", "  discount: .inf", r"algorithm\.discount: Input should be a finite number"),
        (
            "  batch_size: 256",
            "  batch_size: -4",
            r"training\.batch_size: .*greater than or equal to 1, found -4",
        ),
        (
            "  random_steps: 10 ",
            "  random_steps: 900 ",
            r"random_steps must be below total_steps.* 900 and 200$",
        ),
        ("id: point-mass-v0", "id: point-mas-v0", r"Did you mean point_mass/point-mass-v0\?"),
        (
            "task",
            "gymnasium/HalfChetah-v5",
            r"'gymnasium/HalfChetah-v5' is not known\. Did you mean .*HalfCheetah-v5",
        ),
        (
            "task",
            "gymnasium/CartPole-v1",
            r"CartPole-v1.*Box.*Discrete",
        ),
        (
            "suite: point_mass",
            "suite: isaac",
            r"task\.suite: task suite 'isaac': expected one of gymnasium, dm_control",
        ),
        (
            "initial_pool: null",
            f"initial_pool: {{sha256: {'a' * 64}, share: 0.5}}",
            r"replay\.initial_pool: expected a replay pool in .*/data/pool, found none\. `dvc pull data/pool\.dvc`",
        ),
        (
            "golden_steps: 8 ",
            "golden_steps: 201 ",
            r"export\.golden_steps: expected at most training\.total_steps, 200, .*found 201",
        ),
        (
            "safe_action: null",
            "safe_action: [0.0]",
            r"runtime\.safe_action: expected 2 numbers within .*found \[0\.0\]",
        ),
        (
            "segment_transitions: 50 ",
            "segment_transitions: 1000000000000 ",
            r"replay\.segment_transitions: expected transitions that fit into the .* GiB .*, found \S+ GiB",
        ),
        ("\nrelease: ", "\nreleese: ", r"release: missing.*\n.*releese: unknown key"),
        ("  discount: 0.99", "  discount: [0.99", r"is not valid YAML"),
    ],
)
def test_wrong_params_are_refused_before_anything_runs(project, call, old, new, message):
    before = digests(project)
    replace(project, old, new)
    seen = call(project, "run")
    assert seen.code == 2
    assert re.search(message, seen.err), seen.err
    assert digests(project) == before
    assert not (project / ".sacpipe" / "prefect").exists()


def test_plain_dvc_repro_with_wrong_params_keeps_the_outputs_in_reach(project):
    """DVC deletes a stage's outputs before it runs it; they come back from its cache."""
    before = digests(project)
    replace(project, "  discount: 0.99", "  discount: 2.0")
    command = [sys.executable, "-P", "-m", "dvc"]
    result = subprocess.run(
        [*command, "repro"], cwd=project, capture_output=True, text=True, check=False, env=environment()
    )
    assert result.returncode != 0
    assert "algorithm.discount: Input should be less than 1, found 2.0" in result.stderr
    assert "Traceback" not in result.stderr
    subprocess.run(
        [*command, "checkout", "--force"], cwd=project, capture_output=True, check=True, env=environment()
    )
    assert digests(project) == before


@pytest.mark.slow
def test_the_train_stage_refuses_what_only_a_later_stage_reads(fresh):
    """Before the first step, and without depending on those sections."""
    replace(fresh, "golden_steps: 8 ", "golden_steps: 300 ")
    command = [sys.executable, "-P", "-m", "dvc", "repro"]
    result = subprocess.run(
        command, cwd=fresh, capture_output=True, text=True, check=False, env=environment()
    )
    assert result.returncode != 0
    assert "sacpipe: params.yaml: export.golden_steps: expected at most training.total_steps" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (fresh / "work").exists()


def test_a_folder_without_a_project_is_named(tmp_path, call):
    seen = call(tmp_path, "run")
    assert (seen.code, "no dvc.yaml in" in seen.err) == (2, True)


def test_missing_params_say_how_to_get_them(project, call):
    (project / "params.yaml").unlink()
    seen = call(project, "run")
    assert seen.code == 2
    assert "`sacpipe params TASK` prints a complete one" in seen.err


def test_a_second_run_in_the_same_folder_is_refused(project, call):
    with run_lock(Workspace(project)):
        seen = call(project, "run", "--engine", "local")
    assert seen.code == 2
    assert f"another run (process {os.getpid()}) is in progress in" in seen.err


def test_an_unwritable_folder_is_named(project, call):
    """A file in the place of a folder replaces missing permission, which does not stop root."""
    shutil.rmtree(project / "work")
    (project / "work").write_text("")
    before = digests(project)
    seen = call(project, "run", "--engine", "local")
    assert seen.code == 2
    assert re.search(r"cannot write .*work.*a file exists where a folder is needed", seen.err)
    assert digests(project) == before


def test_a_full_disk_stops_training_and_keeps_what_was_there(project):
    """A limit on file sizes replaces the full disk; the pool's segments exceed it."""
    before = digests(project)
    replace(project, "seed: 1 ", "seed: 7 ")
    script = (
        f"import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))\n"
        "from sacpipe.project.stage import run_stage\nfrom pipelines.stages.train import train_stage\n"
        "run_stage('train', train_stage)\n"
    )
    result = subprocess.run(  # -B: a compiled file that the limit cuts short would end a later import
        [sys.executable, "-B", "-c", script], cwd=project, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "the disk is full or" in result.stderr or "size limit" in result.stderr
    assert "Traceback" not in result.stderr
    assert digests(project) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("locl", r"orchestrator 'locl': expected one of local, prefect"),
        (
            "sacpipe.flow.orchestrator.LocalOrchestrator",
            r"has a colon, as `sacpipe\.flow\.orchestrator:LocalOrchestrator`",
        ),
    ],
)
def test_an_unknown_orchestrator_is_refused_before_anything_is_written(project, call, name, message):
    params = (project / "params.yaml").read_text()
    seen = call(project, "run", "--extend", "--engine", name)
    assert seen.code == 2
    assert re.search(message, seen.err), seen.err
    assert (project / "params.yaml").read_text() == params


def test_an_orchestrator_that_cannot_be_imported_is_refused(project, call):
    seen = call(project, "run", "--engine", "no_such_module:Engine")
    assert seen.code == 2
    assert "`no_such_module:Engine` cannot be imported: ModuleNotFoundError" in seen.err


def test_an_unreachable_prefect_is_named_with_the_local_engine(project):
    seen = sacpipe(project, "run", env={"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert seen.code == 3
    assert "http://127.0.0.1:9/api" in seen.err
    assert "--engine local" in seen.err


def test_a_remote_that_cannot_be_written_does_not_prevent_a_candidate(project, call):
    shutil.rmtree(project / ".sacpipe" / "dvcstore")
    (project / ".sacpipe" / "dvcstore").write_text("in the way")
    seen = call(project, "run", "--engine", "local")
    assert seen.code == 0
    assert "not pushed: " in seen.err
    assert "is candidate" in seen.out


def test_a_ledger_of_another_version_is_refused_before_training_and_rebuilt(project, call):
    before = digests(project)
    database = project / ".sacpipe" / "mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    connection.close()
    replace(project, "seed: 1 ", "seed: 7 ")
    seen = call(project, "run", "--engine", "local")
    assert seen.code == 3
    assert "is of another MLflow version: expected schema" in seen.err
    assert "`sacpipe ledger rebuild`" in seen.err
    assert digests(project) == before
    replace(project, "seed: 7 ", "seed: 1 ")
    rebuilt = sacpipe(project, "ledger", "rebuild", check=0)
    assert f"{database}.1 now" in rebuilt.out
    assert "train: run " in rebuilt.out


@pytest.mark.acceptance
def test_a_ledger_that_does_not_answer_stops_nothing_and_is_complete_afterwards(project, call):
    """A server listens at the address and never answers."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.listen()
    slow = {
        "MLFLOW_TRACKING_URI": address,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    seen = sacpipe(project, "run", "--engine", "local", env=slow)
    listener.close()
    assert seen.code == 3
    assert address in seen.err
    assert "`sacpipe run` records, registers and judges without training" in seen.err
    assert (project / ".sacpipe" / "report.html").is_file()
    assert call(project, "run", "--engine", "local").code == 0
    assert call(project, "promote", "--reason", "the server is back").code == 0
    assert call(project, "lineage").code == 0


def test_a_damaged_pool_segment_is_named(project):
    segment = sorted((project / "out" / "train" / "pool").glob("segment-*"))[0]
    segment.chmod(0o644)
    data = bytearray(segment.read_bytes())
    data[-5] ^= 1
    segment.write_bytes(bytes(data))
    result = subprocess.run(
        [sys.executable, "-m", "pipelines.stages.export"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert segment.name in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["policy.onnx", "contract.json", "golden.npz", "manifest.json"])
def test_a_damaged_bundle_is_refused_by_name(project, call, name):
    path = project / "out" / "export" / "bundle" / name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-3])
    seen = call(project, "simulate", "--episodes", "1")
    assert seen.code == 2
    assert name in seen.err


@pytest.mark.parametrize(
    ("number", "engine", "send"),
    [
        (signal.SIGINT, "local", os.kill),
        pytest.param(signal.SIGTERM, "prefect", os.kill, marks=pytest.mark.acceptance),
        # The Ctrl-C of a terminal reaches Prefect's temporary server too.
        pytest.param(signal.SIGINT, "prefect", os.killpg, marks=pytest.mark.acceptance),
    ],
)
def test_a_stopped_run_keeps_its_checkpoint_and_continues_to_the_same_bytes(
    fresh, finished, number, engine, send
):
    process = subprocess.Popen(
        [sys.executable, "-m", "sacpipe.cli.main", "run", "--engine", engine],
        cwd=fresh,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("train point_mass"):
            send(process.pid, number)
            break
    rest = threading.Thread(target=lambda: lines.extend(process.stderr))
    rest.start()
    code = process.wait(timeout=120)
    rest.join()
    messages = "".join(lines)
    assert code == 3, messages
    assert "Traceback" not in messages
    assert messages.count("sacpipe: ") == 1
    assert "ERROR" not in messages
    assert "continues" in messages
    assert not (fresh / "out" / "train").exists() or not list((fresh / "out" / "train").iterdir())
    command = [sys.executable, "-P", "-m", "dvc", "repro", "train"]
    subprocess.run(command, cwd=fresh, check=True, capture_output=True, env=environment())
    assert sha256_tree(fresh / "out" / "train") == sha256_tree(finished / "out" / "train")


@pytest.mark.acceptance
def test_a_stage_that_ends_abruptly_gives_one_message(project, call):
    before = digests(project)
    source = project / "pipelines" / "stages" / "export.py"
    source.write_text(
        source.read_text().replace("    workspace = context.workspace\n", "    import os; os._exit(9)\n", 1)
    )
    seen = call(project, "run", "--engine", "local")
    assert seen.code == 3
    assert "stage 'export'" in seen.err
    assert digests(project) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("params", "gymnasium/Nope-v5"), "is not known"),
        (("params", "gymnasium/HalfCheetah-v5", "--steps", "1"), "--steps: expected at least 2, found 1"),
        (("tasks", "--suite", "isaac"), "--suite: expected one of gymnasium, dm_control, "),
        (("simulate", "no/such/bundle"), "no/such/bundle"),
        (("simulate", "no/such.safetensors"), "is missing"),
        (("simulate", "--stochastic"), "stochastic: this bundle holds the deterministic policy only"),
        (("simulate", "--episodes", "0"), "--episodes: expected at least 1, found 0"),
        (("simulate", "--seed", "-1"), "--seed: expected 0 or more, found -1"),
        (
            ("params", "point_mass/point-mass-v0", "--seed", "-1"),
            "--seed: expected 0 to 2147483647, found -1",
        ),
        (("params", "point_mass/point-mass-v0", "--output", "docs"), "docs: is a directory"),
        (("simulate", "models:/nobody"), "expected models:/NAME@ALIAS"),
    ],
)
def test_wrong_arguments_are_refused(finished, call, arguments, message):
    seen = call(finished, *arguments)
    assert seen.code == 2
    assert message in seen.err


@pytest.mark.parametrize(
    "command",
    [("lineage", "nobody"), ("simulate", "models:/nobody@champion"), ("serve", "models:/nobody@champion")],
)
def test_unknown_models_are_the_registrys_answer(finished, call, command):
    seen = call(finished, *command)
    assert seen.code == 3
    assert "nobody" in seen.err


@pytest.mark.slow
def test_params_are_written_whole_or_not_at_all(tmp_path, call):
    (tmp_path / "params.yaml").write_text("mine")
    assert call(tmp_path, "params", "gymnasium/Nope-v5", "--output", "params.yaml").code == 2
    assert (tmp_path / "params.yaml").read_text() == "mine"
    assert call(tmp_path, "params", "point_mass/point-mass-v0", "--output", "params.yaml").code == 0
    assert "point-mass-v0" in (tmp_path / "params.yaml").read_text()
