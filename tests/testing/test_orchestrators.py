"""Our orchestrators and one of another package keep the contract; one that breaks a rule is named."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from repository import ROOT
from small_project import environment

from sacpipe.core.errors import ConfigError, ContractError, StoreError
from sacpipe.flow import orchestrator, steps
from sacpipe.flow.orchestrator import ORCHESTRATORS, LocalOrchestrator, call_step, open_orchestrator
from sacpipe.project.workspace import Workspace
from sacpipe.testing.orchestrators import check_orchestrator

CHECK = """
import sys
from pathlib import Path
from sacpipe.flow.orchestrator import ORCHESTRATORS
from sacpipe.testing.orchestrators import check_orchestrator

check_orchestrator(ORCHESTRATORS.find_or_import(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture
def no_delays(monkeypatch):
    monkeypatch.setattr(orchestrator, "RETRY_DELAYS_S", (0.0, 0.0))


def checked(name, folder):
    """Run the suite in a process of its own: Prefect configures the logging of its process."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "example_package")])
    command = [sys.executable, "-c", CHECK, name, str(folder)]
    return subprocess.run(
        command, env=environment() | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )


def test_plain_python_keeps_the_contract(tmp_path, no_delays):
    check_orchestrator(ORCHESTRATORS.find("local"), tmp_path)


@pytest.mark.slow
def test_one_of_another_package_keeps_it(tmp_path):
    done = checked("sacpipe_example.orchestrator:Journal", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / ".sacpipe" / "journal.jsonl").read_text().splitlines()
    assert len(lines) == 2 * (3 + 1) + 1 + (4 + 1) + 3  # steps and ends of four runs; three that fail


@pytest.mark.acceptance
def test_prefect_keeps_it_with_a_temporary_server(tmp_path):
    done = checked("prefect", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "its temporary server starts" in done.stderr
    with closing(sqlite3.connect(tmp_path / ".sacpipe" / "prefect" / "prefect.db")) as database:
        keys = database.execute("SELECT DISTINCT key FROM artifact").fetchall()
        names = database.execute("SELECT DISTINCT name FROM task_run").fetchall()
    assert {key for (key,) in keys} >= {"result", "verdict", "lineage", "report"}
    assert any(name.startswith("again") for (name,) in names)


class Broken(LocalOrchestrator):
    """Each subclass breaks one rule."""


class Nameless(Broken):
    name = ""


class Caching(Broken):
    def run(self, flow):
        kept = {}

        def call(name, step, *arguments):
            if name not in kept:
                kept[name] = step(*arguments)
            return kept[name]

        return flow(call)


class Impatient(Broken):
    def run(self, flow):
        return flow(lambda _name, step, *arguments: step(*arguments))


class Stubborn(Broken):
    def run(self, flow):
        def call(_name, step, *arguments):
            try:
                return step(*arguments)
            except StoreError:
                return step(*arguments)

        return flow(call)


class Wrapping(Broken):
    def run(self, flow):
        try:
            return flow(call_step)
        except KeyError as exc:
            raise StoreError("the orchestrator failed") from exc


class Silent(Broken):
    def run(self, flow):
        flow(call_step)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Nameless, "expected a name"),
        (Caching, "expected the result of the step itself"),
        (Impatient, "later"),
        (Stubborn, "not repeated, found 2 calls"),
        (Wrapping, "expected KeyError"),
        (Silent, "expected the flow's summary from run"),
    ],
)
def test_what_breaks_the_contract_is_named(tmp_path, no_delays, broken, rule):
    with pytest.raises((ContractError, StoreError), match=rule):
        check_orchestrator(broken, tmp_path)


def test_a_class_that_is_no_orchestrator_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(ORCHESTRATORS.ours, "text", "builtins:str")
    monkeypatch.setitem(ORCHESTRATORS.ours, "number", "builtins:complex")
    with pytest.raises(
        ConfigError, match="orchestrator 'text': expected `name`, `describe`, `start` and `run`"
    ):
        open_orchestrator("text", Workspace(tmp_path))
    with pytest.raises(ConfigError, match="orchestrator 'number' cannot be made: TypeError"):
        open_orchestrator("number", Workspace(tmp_path))
    with pytest.raises(ConfigError, match="orchestrator 'path': expected a class"):
        monkeypatch.setitem(ORCHESTRATORS.ours, "path", "os:sep")
        ORCHESTRATORS.find("path")


THEIRS = """
from sacpipe.flow.orchestrator import LocalOrchestrator, call_step

class Theirs(LocalOrchestrator):
    def describe(self):
        raise OSError("describe")
    def start(self):
        raise KeyError("start")
    def run(self, flow):
        flow(call_step)
        raise RuntimeError("run")
"""


def test_an_error_of_an_orchestrator_names_it_and_one_of_a_step_passes(tmp_path, monkeypatch):
    (tmp_path / "their_orchestrator.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path))
    theirs = open_orchestrator("their_orchestrator:Theirs", Workspace(tmp_path))
    for call, text in (
        (theirs.describe, "OSError: describe"),
        (theirs.start, "KeyError: 'start'"),
        (lambda: theirs.run(lambda _call: None), "RuntimeError: run"),
    ):
        with pytest.raises(StoreError, match=f"orchestrator 'their_orchestrator:Theirs' raised {text}"):
            call()
    with pytest.raises(AttributeError):
        theirs.run(lambda call: call("a fault of sacpipe", steps.record, None, "train", None))
