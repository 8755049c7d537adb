"""A run registers a candidate and judges it; the champion moves by an act of its own, or by release.auto."""

import hashlib
import json
import re
import shutil
import subprocess

import pytest
from ledger_project import flip
from project_fixtures import EASY
from release_scene import NAME, Scene
from small_project import IDENTITY, commit, dvc, git, sacpipe, with_release

from sacpipe.bundle.files import bundle_digest
from sacpipe.release.real_world import ProjectDisk
from sacpipe.release.versions import read_versions

pytestmark = pytest.mark.slow

HARD = "{name: smoothness, episodes: 1, max_change: 1.0e-9}"
RULE = '''
from sacpipe.release.rules.rule import RETURN, Rule


class Floor(Rule):
    """A rule of the project's own: the lowest mean return of two episodes."""

    lowest: float

    def judge(self, evidence):
        mean = float(evidence.candidate.returns(2).mean())
        return self.at_least(mean, self.lowest, what="mean return", unit=RETURN, advice="Train longer.")

    @classmethod
    def example(cls):
        return cls(name="own_rules:Floor", lowest=0.0)
'''
HAND = f'''
from pathlib import Path

from sacpipe.flow.orchestrator import LocalOrchestrator, call_step
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.chosen import open_ledger


class Hand(LocalOrchestrator):
    """An operator's hand moves the alias before the last step."""

    def run(self, flow):
        return flow(self.call)

    def call(self, name, step, *arguments):
        if name == "release":
            open_ledger(Workspace(Path.cwd())).registry.set_alias("{NAME}", "champion", 2)
        return call_step(name, step, *arguments)
'''


@pytest.fixture
def operator(monkeypatch):
    monkeypatch.setenv("SACPIPE_TRACKING", "folder")
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def scene(project, call, operator):
    """A policy that is trained and not registered yet."""
    scene = Scene(project, call)
    scene.set_release(EASY)
    return scene


@pytest.fixture
def two(two_candidates, call, operator, tmp_path):
    """Two committed candidates, and no champion."""
    return Scene(shutil.copytree(two_candidates, tmp_path / "project", symlinks=True), call)


def test_from_an_uncommitted_candidate_to_a_champion(scene):
    shutil.rmtree(scene.root / "release")
    commit(scene.root)
    scene.another_bundle(9)
    seen = scene.run()
    assert "gate       accepted\n  ok       smoothness: mean change of an action per step " in seen.out
    assert f"registry   {NAME} version 1 is candidate; no version is champion\n" in seen.out
    assert '\npromote    sacpipe promote --reason "WHY"\n' in seen.out
    assert scene.aliases() == {"candidate": 1}

    version = scene.registry.version(NAME, 1)
    (file,) = read_versions(ProjectDisk(scene.root), NAME)
    assert (file.number, file.bundle) == (1, bundle_digest(scene.root / "out" / "export" / "bundle"))
    assert file.tags == version.tags
    assert version.tags["sacpipe.verdict"].startswith(
        "accepted: smoothness: mean change of an action per step "
    )
    assert "smoothness" in version.description
    assert set(file.entries) == {"train", "export", "evaluate"}

    refused = scene.release("promote", code=1)
    assert "the candidate is uncommitted: dvc.lock, params.yaml, release, results." in refused.err
    assert scene.aliases() == {"candidate": 1}
    command = next(line for line in seen.out.splitlines() if "git add" in line)
    subprocess.run(["sh", "-c", command], cwd=scene.root, check=True, capture_output=True)
    assert scene.changed() == []

    again = scene.run("--json")
    summary = json.loads(again.out)
    assert set(summary["outcomes"].values()) == {"unchanged"}
    assert (summary["verdict"]["accepted"], summary["verdict"]["mode"]) == (True, "enforce")
    assert summary["promotion"] == {
        "model_name": NAME,
        "version": 1,
        "alias": "candidate",
        "candidate": 1,
        "previous": None,
        "why": summary["promotion"]["why"],
        "commit": git(scene.root, "rev-parse", "HEAD"),
        "uncommitted": "",
        "working_rules": "",
        "barred": "",
    }
    assert scene.changed() == []

    scene.release("promote")
    assert scene.aliases() == {"candidate": 1, "champion": 1}
    records = scene.history()
    last = scene.run()
    assert f"registry   {NAME} version 1 is champion\n" in last.out
    assert "serve      make serve\n" in last.out
    assert "sacpipe promote" not in last.out
    assert (scene.history(), scene.changed()) == (records, [])


def test_a_refused_candidate_leaves_the_champion_and_says_how_to_get_further(two):
    two.release("promote", "1")
    two.set_release(HARD)
    commit(two.root)
    seen = two.run(code=1)
    assert "gate       refused\n  refused  smoothness: mean change of an action per step " in seen.out
    assert ", limit 1e-07 %" in seen.out
    assert "\n           Add a cost of changes to the reward" in seen.out
    assert "version 2 is candidate; version 1 stays champion" in seen.out
    assert (
        "\npage       sacpipe gate 2 --page verdict.html\nnext       change what the refused lines"
        in seen.out
    )
    assert "sacpipe promote" not in seen.out
    assert two.aliases() == {"candidate": 2, "champion": 1}
    assert two.registry.version(NAME, 2).tags["sacpipe.verdict"].startswith("refused: smoothness")
    assert two.registry.version(NAME, 1).tags["sacpipe.verdict"].startswith("accepted: smoothness")
    two.release("promote", code=1)
    assert two.aliases() == {"candidate": 2, "champion": 1}

    two.set_release(EASY)
    commit(two.root)
    two.release("promote")
    assert two.changed() == []
    _, file = read_versions(ProjectDisk(two.root), NAME)
    assert file.tags["sacpipe.verdict"].startswith("accepted: ")
    two.run()
    assert two.changed() == []


def test_an_uncommitted_edit_of_the_release_section_judges_nothing(scene):
    scene.set_release(HARD)
    commit(scene.root)
    scene.run(code=1)
    scene.set_release(EASY, auto=True)
    seen = scene.run(code=1)
    assert "refused  smoothness" in seen.out
    head = git(scene.root, "rev-parse", "HEAD")[:12]
    assert (
        f"release: judged under the rules of {head}, the newest commit that holds this candidate; those in "
        "params.yaml differ. Commit params.yaml to judge under these.\n"
    ) in seen.err
    changes = "auto true instead of false, smoothness.max_change 1 instead of 1e-09"
    assert f"\n  rules    of commit {head}; those in params.yaml differ: {changes}\n" in seen.out
    assert scene.aliases() == {"candidate": 1}


@pytest.mark.parametrize(
    ("mode", "words", "is_promoted"),
    [
        (
            "dry_run",
            [
                "gate       would be refused\n  refused  smoothness",
                "nothing, because release.mode is dry_run",
            ],
            False,
        ),
        ("off", ["gate       not judged: release.mode is off", "sacpipe promote --reason"], True),
    ],
)
def test_a_mode_that_does_not_enforce_ends_a_run_without_a_refusal(scene, mode, words, is_promoted):
    scene.set_release(HARD, mode=mode)
    commit(scene.root)
    seen = scene.run()
    for text in words:
        assert text in seen.out
    scene.release("promote", code=0 if is_promoted else 1)
    assert ("champion" in scene.aliases()) is is_promoted


@pytest.mark.acceptance
def test_auto_promotes_what_a_commit_holds_and_the_gate_accepts(scene):
    scene.set_release(EASY, auto=True)
    scene.another_bundle(9)
    seen = scene.run()
    assert "release: release.auto promotes what a commit holds: commit, and run again" in seen.err
    assert scene.aliases() == {"candidate": 1}
    commit(scene.root)
    seen = scene.run()
    assert f"registry   {NAME} version 1 is champion\n" in seen.out
    assert scene.aliases() == {"candidate": 1, "champion": 1}
    assert scene.changed() == []
    assert {(record["action"], record["reason"]) for record in scene.history()} == {
        ("promote", "release.auto of params.yaml")
    }
    assert scene.history()[-1]["commit"] == git(scene.root, "rev-parse", "HEAD~1")

    scene.set_release(HARD, auto=True)
    scene.another_bundle(10)
    scene.run(code=1)
    commit(scene.root)
    before = scene.history()
    scene.run(code=1)
    assert scene.aliases() == {"candidate": 2, "champion": 1}
    assert scene.history() == before

    scene.set_release(EASY, auto=True)
    commit(scene.root)
    assert f"registry   {NAME} version 2 is champion, after version 1\n" in scene.run().out


def test_an_alias_that_was_moved_by_hand_stays_and_the_run_ends_before_training(two):
    two.release("promote", "1")
    two.release("promote")
    two.registry.set_alias(NAME, "champion", 1)  # an operator's hand
    for _ in range(2):
        seen = two.run(code=1)
        assert "was moved by hand: the history names version 2" in seen.err
        assert "sacpipe history --adopt" in seen.err
        assert "train: unchanged" not in seen.err
        assert two.aliases() == {"candidate": 2, "champion": 1}
    two.release("history", "--adopt")
    two.run()
    assert two.aliases() == {"candidate": 2, "champion": 1}


@pytest.mark.acceptance
def test_a_bundle_that_was_rolled_back_is_refused_with_who_when_and_why(two):
    two.release("promote", "1")
    two.release("promote")
    two.release("rollback")
    seen = two.run(code=1)
    assert f"registry   {NAME} version 2 is barred; version 1 stays champion\n" in seen.out
    assert re.search(r"barred     rolled back at 20\S+ by tests <tests@localhost>: a test\n", seen.out)
    assert 'promote    sacpipe promote 2 --again --reason "WHY"\n' in seen.out
    assert two.aliases() == {"candidate": 2, "champion": 1}
    summary = json.loads(two.run("--json", code=1).out)
    assert summary["verdict"]["accepted"] is True
    assert summary["promotion"]["barred"].endswith(": a test")

    two.another_bundle(8)  # the candidate is another one meanwhile, and then the barred bundle again
    two.run()
    two.another_bundle(9)
    seen = two.run(code=1)
    assert (
        f"registry   {NAME} version 2 is barred; candidate stays version 1; version 1 stays champion\n"
        in seen.out
    )
    summary = json.loads(two.run("--json", code=1).out)["promotion"]
    assert (summary["version"], summary["alias"], summary["candidate"]) == (2, "", 1)
    assert two.aliases() == {"candidate": 1, "champion": 1}
    two.release("promote", "2", code=1)
    two.release("promote", "2", "--again")
    assert "version 2 is champion" in two.run().out


def test_a_barred_candidate_that_is_refused_too_has_no_command_that_promotes_it(two):
    two.release("promote", "1")
    two.release("promote")
    two.release("rollback")
    two.set_release(HARD)
    commit(two.root)
    seen = two.run(code=1)
    assert "barred     rolled back at" in seen.out
    assert "--again" not in seen.out


def test_a_champion_that_is_damaged_for_good_leaves_the_report_and_its_own_error(two):
    """A flipped byte in the registry, and DVC lacks the file: the candidate cannot be judged against it."""
    two.release("promote", "1")
    champion = two.registry.version(NAME, "champion").bundle_digest
    golden = next(two.root.glob(f".sacpipe/tracking/bundles/{champion}/golden*"))
    md5 = hashlib.md5(golden.read_bytes(), usedforsecurity=False).hexdigest()
    for path in list(two.root.rglob(md5[2:])):
        path.unlink()
    flip(golden)
    two.set_release(HARD)
    commit(two.root)  # the kept verdict counts no more
    report = two.root / ".sacpipe" / "report.html"
    report.unlink()
    seen = two.run(code=2)
    assert golden.name in seen.err.splitlines()[-1]
    assert "`sacpipe run` records, registers and judges without training" in seen.err
    assert report.is_file()


def test_an_alias_that_was_moved_during_the_run_ends_it_after_the_report(two):
    two.release("promote", "1")
    (two.root / "own_engine.py").write_text(HAND)
    commit(two.root)
    report = two.root / ".sacpipe" / "report.html"
    report.unlink()
    seen = two.run("--engine", "own_engine:Hand", code=1)
    assert "was moved by hand: the history names version 1" in seen.err
    assert report.is_file()


def test_without_an_identity_of_git_nothing_is_judged(two):
    without_name = {"GIT_COMMITTER_NAME": ""}
    for command in (("promote",), ("rollback",), ("history", "--adopt")):
        seen = sacpipe(two.root, *command, "--reason", "a test", env=without_name, check=2)
        assert "set `git config user.name` and `git config user.email`" in seen.err
        assert seen.out == ""


def test_without_git_a_run_registers_and_says_how_a_release_begins(scene, monkeypatch):
    shutil.rmtree(scene.root / ".git")
    shutil.rmtree(scene.root / "release")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(scene.root.parent))
    dvc(scene.root, "config", "core.no_scm", "true")
    seen = scene.run()
    assert "git init && git add --all" in seen.out
    assert scene.aliases() == {"candidate": 1}


def test_another_name_counts_when_it_is_committed(scene):
    commit(scene.root)
    scene.set_release(EASY, model_name="other")
    assert "with release.model_name 'point-mass-v0'. Commit the new name" in scene.run().out
    commit(scene.root)
    assert "uncommitted" not in scene.run().out


@pytest.mark.acceptance
def test_a_rule_of_the_projects_own_is_a_dependency_of_no_stage(project):
    (project / "own_rules.py").write_text(RULE)
    path = project / "params.yaml"
    graph = (project / "dvc.yaml").read_text()
    for lowest, code, word, sign in ((1000.0, 1, "refused", "refused"), (-1000.0, 0, "accepted", "ok")):
        path.write_text(with_release(path.read_text(), f"{{name: 'own_rules:Floor', lowest: {lowest}}}"))
        commit(project)
        seen = sacpipe(project, "run", "--engine", "local", check=code)
        assert f"gate       {word}\n  {sign:<8} own_rules:Floor: mean return -" in seen.out
        assert "train unchanged, export unchanged, evaluate unchanged" in seen.out
        assert (project / "dvc.yaml").read_text() == graph
    (project / "own_rules.py").write_text(f"{RULE}# edited\n")
    assert "differ from it: own_rules.py. Commit them:" in sacpipe(project, "run", "--engine", "local").out
    assert "differ from it: own_rules.py" in sacpipe(project, "promote", "--reason", "x", check=1).err
