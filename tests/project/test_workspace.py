"""The workspace: found from below, quiet by default, and held by one run at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

from sacpipe.core.errors import BusyError, ConfigError, StorageError
from sacpipe.project.workspace import STAGES, Place, Workspace, run_lock
from sacpipe.rollout.registries import choose_registry

HOLD = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from sacpipe.project.workspace import Workspace, run_lock
with run_lock(Workspace(pathlib.Path(sys.argv[2]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(root: Path) -> subprocess.Popen[str]:
    project = ROOT
    command = [sys.executable, "-c", HOLD, str(project), str(root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_it_is_the_nearest_folder_above_that_holds_dvc_yaml(tmp_path: Path) -> None:
    (tmp_path / "inner" / "deep").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no dvc.yaml in"):
        Workspace.find(tmp_path / "inner")
    (tmp_path / "dvc.yaml").touch()
    assert Workspace.find(tmp_path / "inner" / "deep") == Workspace(tmp_path.resolve())
    (tmp_path / "inner" / "dvc.yaml").touch()
    assert Workspace.find(tmp_path / "inner" / "deep").root == (tmp_path / "inner").resolve()


def test_every_path_is_in_the_folder_and_has_one_name(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    names = [name for name, value in vars(Workspace).items() if isinstance(value, Place)]
    paths = [getattr(workspace, name) for name in names]
    assert len(set(paths)) == len(paths) > 20
    assert all(path.is_relative_to(tmp_path) for path in paths)
    stages = {"train": workspace.train, "export": workspace.export, "evaluate": workspace.evaluate}
    assert {stage: workspace.stage_metrics(stage).parent for stage in STAGES} == stages
    assert workspace.work("ab") == tmp_path / "work" / "ab"


def test_every_tool_is_embedded_and_silent_unless_variables_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    silent = {"DO_NOT_TRACK", "DVC_NO_ANALYTICS"}
    for name in silent:
        monkeypatch.delenv(name, raising=False)
    found = workspace.environment()
    assert silent <= found.keys()
    monkeypatch.setenv("DVC_NO_ANALYTICS", "0")
    assert workspace.environment().keys() == found.keys() - {"DVC_NO_ANALYTICS"}


def test_no_tracker_is_imported_for_the_tools_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of the project that is loaded before its task is tried counts as a part of the task."""
    (tmp_path / "sacpipe.yaml").write_text("tracking: not_there:Tracking\n")
    workspace = Workspace(tmp_path)
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    assert "DO_NOT_TRACK" in workspace.environment()
    with pytest.raises(
        ConfigError, match=r"sacpipe.yaml: tracking.name: tracker 'not_there:Tracking': .*imported"
    ):
        choose_registry(workspace.settings, {})


def test_a_second_run_is_refused_with_the_process_that_holds_the_folder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    process = hold(tmp_path)
    with (
        pytest.raises(BusyError, match=f"another run .process {process.pid}. is in progress in"),
        run_lock(workspace),
    ):
        pass
    process.communicate("")
    with run_lock(workspace):
        assert workspace.lock_file.read_text() == f"{os.getpid()}\n"
        with pytest.raises(BusyError), run_lock(workspace):
            pass


def test_a_run_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.kill()
    process.wait()
    with run_lock(Workspace(tmp_path)):
        pass
    process.communicate()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".sacpipe").write_text("a file")
    with (
        pytest.raises(StorageError, match=r"cannot write .*\.sacpipe/lock: a file exists where"),
        run_lock(Workspace(tmp_path)),
    ):
        pass
