"""promote, rollback and history as an operator types them."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from small_project import IDENTITY, git

from sacpipe.core.errors import StoreError
from sacpipe.project.workspace import Workspace, release_lock
from sacpipe.release import promotion
from sacpipe.release.history import read_history
from sacpipe.release.history_text import events
from sacpipe.release.real_world import ProjectDisk
from sacpipe.tracking.chosen import open_ledger

pytestmark = pytest.mark.slow

NAME = "point-mass-v0"


@pytest.fixture
def operator(two_candidates, call, monkeypatch, tmp_path):
    """Run a command in a project with two committed candidates in a folder's registry."""
    monkeypatch.setenv("SACPIPE_TRACKING", "folder")
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    project = shutil.copytree(two_candidates, tmp_path / "project", symlinks=True)

    def run(*arguments, code=0):
        seen = call(project, *arguments)
        assert seen.code == code, seen.out + seen.err
        return seen

    run.project = project
    return run


def champion(project):
    found = open_ledger(Workspace(project)).registry.alias(NAME, "champion")
    return found and found.version


def test_promotion_rollback_and_their_history(operator):
    """An older version by number, the candidate, back; the same words in history, JSON and the log of git."""
    operator("promote", "1", "--reason", "the first")
    assert operator("promote", "--reason", "nine steps").err.count("champion: version 2") == 1
    assert "is champion already" in operator("promote", "--reason", "nine steps").err
    operator("rollback", "--reason", "it trembles")
    assert champion(operator.project) == 1
    barred = operator("promote", "2", "--reason", "again", code=1)
    assert "is barred: rolled back at" in barred.err
    assert "by tests <tests@localhost>: it trembles" in barred.err
    judged = operator("gate", "2", code=1).out
    assert " version 2 is accepted\n" in judged
    assert judged.endswith(" by tests <tests@localhost>: it trembles\n")
    assert "\n  barred   rolled back at " in judged
    assert "  barred   rolled back at " in operator("gate", "2", "--json", code=1).err
    shown = operator("history").out
    lines = [line for line in shown.splitlines() if line.startswith("  20")]
    assert [line.split("  ")[2].split(" version")[0] for line in lines] == [
        "barred",
        "rolled back to",
        "promoted",
        "promoted",
    ]
    records = json.loads(operator("history", "--json").out)
    assert [one["kind"] for one in records][-4:] == ["intended", "moved", "proven", "barred"]
    assert all("entries" not in one for one in records)
    assert all(
        one.entries
        for one in read_history(ProjectDisk(operator.project), NAME).records.values()
        if one.commit
    )
    log = git(operator.project, "log", "--format=%s", "--max-count=3").splitlines()
    assert log[0].startswith(f"Release of {NAME}: barred version 2")
    assert log[1].startswith(f"Release of {NAME}: promoted version 2")
    assert git(operator.project, "status", "--porcelain") == ""
    assert (
        "no version or alias '7'. It has 1/champion, 2/candidate."
        in operator("rollback", "--to", "7", "--reason", "x", code=2).err
    )
    assert "Former champions that are not barred: none" in operator("rollback", "--reason", "x", code=1).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "--reason", " "), "--reason: expected why"),
        (("promote", "--reason", "..."), "found the place-holder '...'"),
        (("rollback", "--reason", "WHY"), "found the place-holder 'WHY'"),
        (("history", "--adopt", "--reason", "WHY"), "found the place-holder 'WHY'"),
        (("promote", "latest", "--reason", "x"), "no version or alias 'latest'. It has 1, 2/candidate."),
        (("promote",), "the following arguments are required: --reason"),
        (("history", "--adopt"), "--reason: expected with --adopt, --restore or --resolve"),
        (("history", "--reason", "x"), "--reason: expected with --adopt, --restore or --resolve"),
        (("history", "--adopt", "--restore", "--reason", "x"), "not allowed with argument --adopt"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(operator, arguments, message):
    """Exit code 2, one message, no record."""
    assert message in operator(*arguments, code=2).err
    assert champion(operator.project) is None
    history = read_history(ProjectDisk(operator.project), NAME)
    assert events(history) == []


@pytest.mark.parametrize("command", ["promote", "rollback", ("history", "--restore")])
def test_another_release_command_is_a_no(operator, command):
    """Exit code 1, as docs/release.md says of another promoter, and the process is named."""
    with release_lock(Workspace(operator.project)):
        words = (command,) if isinstance(command, str) else command
        busy = operator(*words, "--reason", "it trembles", code=1)
    assert f"another release command (process {os.getpid()}) is in progress in" in busy.err


def test_an_error_in_params_stops_neither_rollback_nor_history_nor_gate(operator):
    """A robot misbehaves while params.yaml is half edited: the name of the policy is enough."""
    operator("promote", "1", "--reason", "the first")
    path = operator.project / "params.yaml"
    path.write_text(path.read_text().replace("\n  total_steps: ", "\n  total_steps: -"))
    assert "total_steps" in operator("run", code=2).err
    assert "is accepted" in operator("gate", "1").out
    operator("rollback", "--to", "none", "--reason", "it trembles")
    assert "there is no champion" in operator("history").out
    open_ledger(Workspace(operator.project)).registry.set_alias(NAME, "champion", 2)
    operator("history", "--restore", "--reason", "an unknown hand")
    assert champion(operator.project) is None
    operator("promote", "--reason", "nine steps")
    assert champion(operator.project) == 2


def test_an_alias_that_a_hand_moved_is_in_the_history_s_answer(operator):
    """history shows the records and exits 1; restore repairs it."""
    operator("promote", "1", "--reason", "the first")
    open_ledger(Workspace(operator.project)).registry.set_alias(NAME, "champion", 2)
    shown = operator("history", code=1)
    assert shown.out.startswith(f"{NAME}: champion is version 1 ")
    assert "moved by hand: the history names version 1" in shown.err
    judged = operator("gate", "2", code=1)
    assert "moved by hand: the history names version 1" in judged.err
    assert "accepted" not in judged.out
    assert champion(operator.project) == 2
    both = subprocess.run(
        [sys.executable, "-m", "sacpipe.cli.main", "history"],
        cwd=operator.project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert both.returncode == 1
    assert both.stdout.index("moved by hand") < both.stdout.index(": champion is version 1")
    restored = operator("history", "--restore", "--reason", "an unknown hand")
    assert "restored: version 1" in restored.err
    assert champion(operator.project) == 1


def test_a_promotion_without_the_outputs_writes_the_card_of_the_present_verdict(operator):
    registry = open_ledger(Workspace(operator.project)).registry
    registry.set_description(NAME, 2, "**Refused**")
    shutil.rmtree(operator.project / "out")
    operator("promote", "--reason", "the first")
    assert "**Accepted**" in registry.version(NAME, 2).description


def test_an_account_that_may_not_change_the_trainers_runs_may_promote(operator, monkeypatch):
    def refuse(*_arguments):
        raise StoreError("403: the account may not do this")

    monkeypatch.setattr(promotion, "record_stage", refuse)
    promoted = operator("promote", "--reason", "the first")
    assert "are not recorded anew: 403: the account may not do this" in promoted.err
    assert champion(operator.project) == 2
