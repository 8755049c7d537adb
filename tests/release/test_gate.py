"""The release gate on real bundles: what is judged, what is kept, and what is fenced."""

import math
from dataclasses import replace

import numpy as np
import pytest
from committed_project import commit, git
from pole_policies import FALLS, MODEL, PendulumProject, evidence_of, make_environment, params_with, scored

from sacpipe.core.errors import (
    BundleError,
    ConfigError,
    InterruptedRunError,
    ReleaseError,
    SimulatorError,
    StoreUnavailableError,
)
from sacpipe.release.gate import judge_rules, judge_version, kept_verdict
from sacpipe.release.robot_episode import Robot
from sacpipe.release.rules.rule import Rule
from sacpipe.release.scoring import RuntimeScored
from sacpipe.testing.rule_evidence import given_evidence

DELAY = {"name": "delay", "episodes": 2, "min_return": None, "max_loss": 50.0, "periods": 1}
SMOOTH = {"name": "smoothness", "episodes": 1, "max_change": 0.5}
NOISE = {
    "name": "observation_noise",
    "episodes": 2,
    "min_return": 900.0,
    "max_loss": None,
    "deviation": 0.0001,
}

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path):
    """A project without a version."""
    return PendulumProject(tmp_path / "project")


def begin(root):
    """Commit a project as it is, and return the commit."""
    git(root, "init", "--quiet", "--initial-branch=main")
    return commit(root)


def judge(project, version, *rules, **changes):
    return judge_version(project.workspace, project.tracker, version, params_with(*rules, **changes))


def test_a_candidate_that_keeps_every_rule_is_accepted(project):
    verdict = judge(project, project.register(), NOISE, SMOOTH, {"name": "parity"})
    assert verdict.accepted
    assert verdict.word == "accepted"
    assert (verdict.model, verdict.version, verdict.champion, verdict.commit) == (MODEL, 1, None, None)
    assert [finding.rule for finding in verdict.findings] == ["observation_noise", "smoothness", "parity"]
    assert verdict.scores.candidate == (1000.0, 1000.0)
    assert verdict.scores.champion == ()
    assert verdict.episodes == 4


def test_a_candidate_that_falls_is_refused_with_figure_threshold_and_advice(project):
    verdict = judge(project, project.register(FALLS), NOISE)
    assert not verdict.accepted
    (finding,) = verdict.refused
    assert finding.threshold == 900.0
    assert finding.figure < 50.0
    assert "floor 900 (min_return)" in finding.text()
    assert "set another threshold of `observation_noise`" in finding.advice


def test_candidate_and_champion_are_scored_on_the_same_seeds(project):
    project.register(champion=True)
    verdict = judge(project, project.register((0.5, 5.0, 0.5, 1.01)), DELAY)
    assert verdict.champion == project.tracker.registry.alias(MODEL, "champion").bundle_digest
    assert verdict.episodes == 6
    assert verdict.accepted
    assert verdict.findings[0].threshold < verdict.findings[0].figure


def test_a_candidate_worse_than_the_champion_is_refused(project):
    project.register(champion=True)
    rule = NOISE | {"min_return": None, "max_loss": 100.0}
    verdict = judge(project, project.register(FALLS), rule)
    assert verdict.findings[0].threshold == 900.0
    assert not verdict.accepted
    assert "the champion's 1,000" in verdict.why()


def test_the_champion_itself_is_compared_with_nothing(project):
    champion = project.register(champion=True)
    verdict = judge(project, champion, DELAY, {"name": "same_contract"})
    assert verdict.accepted
    assert verdict.champion == verdict.candidate
    assert verdict.findings[1].found == "not compared: the candidate is the champion"


def test_off_runs_no_episode_and_dry_run_accepts_with_its_findings(project):
    version = project.register(FALLS)
    off = judge(project, version, NOISE, mode="off")
    assert (off.accepted, off.word, off.findings, off.episodes) == (True, "not judged", (), 0)
    assert project.kept() == []
    dry = judge(project, version, NOISE, mode="dry_run")
    assert (dry.accepted, dry.word, len(dry.refused)) == (True, "would be refused", 1)


def test_a_kept_verdict_is_returned_until_something_changes(project):
    version = project.register()
    first = judge(project, version, SMOOTH)
    (path,) = project.kept()
    old = "2001-01-01T00:00:00+00:00"
    path.write_text(path.read_text().replace(first.time, old))
    assert judge(project, version, SMOOTH).time == old
    held = begin(project.workspace.root)
    committed = judge_version(project.workspace, project.tracker, version, params_with(SMOOTH), commit=held)
    assert (committed.time, committed.commit) == (old, held)
    assert judge(project, version, SMOOTH, seed=2).time > old
    assert judge(project, version, SMOOTH | {"max_change": 0.4}).time > old
    project.register(FALLS, champion=True)
    assert judge(project, version, SMOOTH).time > old
    assert len(project.kept()) == 4


OWN_RULE = """
from sacpipe.release.rules.smoothness import Smoothness


class Own(Smoothness):
    name: str
"""


def test_an_edited_rule_of_the_project_judges_again(project, monkeypatch):
    monkeypatch.syspath_prepend(project.workspace.root)
    path = project.workspace.root / "own_release_rule.py"
    path.write_text(OWN_RULE)
    version, own = project.register(), SMOOTH | {"name": "own_release_rule:Own"}
    for _ in range(2):
        (finding,) = judge(project, version, own).findings
        assert (finding.rule, finding.ok) == ("own_release_rule:Own", True)
    assert len(project.kept()) == 1
    path.write_text(OWN_RULE + "# edited\n")
    assert judge(project, version, own).accepted
    assert len(project.kept()) == 2


def test_a_rule_that_is_edited_after_the_commit_gives_no_verdict_of_the_commit(project, monkeypatch):
    monkeypatch.syspath_prepend(project.workspace.root)
    path = project.workspace.root / "own_committed_rule.py"
    path.write_text(OWN_RULE)
    version, own = project.register(), params_with(SMOOTH | {"name": "own_committed_rule:Own"})
    held = begin(project.workspace.root)
    assert judge_version(project.workspace, project.tracker, version, own, held).accepted
    path.write_text(OWN_RULE + "# edited\n")
    with pytest.raises(ReleaseError, match=r"differ from it: own_committed_rule.py\. Commit them"):
        judge_version(project.workspace, project.tracker, version, own, held)
    assert judge_version(project.workspace, project.tracker, version, own).accepted


SLOW = {"name": "latency", "quantile": 0.5, "max_share": 1e-9}


def test_a_refusal_that_may_pass_is_shown_and_judged_again(project, monkeypatch):
    version = project.register()
    first = judge(project, version, SLOW)
    assert not first.accepted
    assert kept_verdict(project.workspace, version.bundle_digest) == first
    monkeypatch.setattr(RuntimeScored, "_time_steps", lambda self: np.zeros(10))
    assert judge(project, version, SLOW).accepted
    monkeypatch.setattr(RuntimeScored, "_time_steps", lambda self: np.ones(10))
    assert judge(project, version, SLOW).accepted


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SimulatorError("step() raised.")])
def test_a_refusal_by_an_error_is_judged_again(project, monkeypatch, error):
    version = project.register()

    def fails(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(RuntimeScored, "actions", fails)
        assert not judge(project, version, SMOOTH).accepted
    assert judge(project, version, SMOOTH).accepted


def test_another_machine_and_another_measured_parity_judge_again(project, monkeypatch):
    version = project.register()
    judge(project, version, SMOOTH)
    monkeypatch.setattr("platform.node", lambda: "another")
    judge(project, version, SMOOTH)
    assert len(project.kept()) == 2
    measured = given_evidence().parity
    monkeypatch.setattr("sacpipe.release.gate.find_parity", lambda tracker, version: measured)
    judge(project, version, SMOOTH)
    assert len(project.kept()) == 3


def test_a_damaged_kept_verdict_is_judged_again(project):
    version = project.register()
    judge(project, version, SMOOTH)
    (path,) = project.kept()
    path.write_text("{")
    assert judge(project, version, SMOOTH).accepted
    assert path.read_text().startswith("{\n")


def test_the_last_kept_verdict_of_a_bundle(project):
    version = project.register()
    assert kept_verdict(project.workspace, version.bundle_digest) is None
    judge(project, version, SMOOTH)
    other = judge(project, version, SMOOTH, seed=2)
    found = kept_verdict(project.workspace, version.bundle_digest)
    assert found.time == other.time
    assert kept_verdict(project.workspace, "0" * 64) is None


def test_a_bundle_that_computes_other_actions_here_is_refused_before_any_episode(project, monkeypatch):
    version = project.register()

    def moved(bundle, act):
        raise BundleError("golden.npz: step 0 differs", "golden")

    with monkeypatch.context() as patch:
        patch.setattr("sacpipe.robot.policy.check_golden_sequence", moved)
        verdict = judge(project, version, SMOOTH)
    assert judge(project, version, SMOOTH).accepted
    assert not verdict.accepted
    assert [(one.rule, one.found.endswith("golden.npz: step 0 differs")) for one in verdict.findings] == [
        ("runs_here", True)
    ]
    assert verdict.episodes == 0


def test_a_version_with_changed_bytes_is_an_error(project):
    version = project.register()
    for path in (project.workspace.root / ".sacpipe").rglob("policy.onnx"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleError, match="policy.onnx"):
        judge(project, version, SMOOTH)


def test_an_unrecorded_lineage_is_refused(project):
    verdict = judge(project, project.register(), {"name": "lineage"})
    assert not verdict.accepted
    assert "version -> export run: expected a digest" in verdict.why()


def test_the_commit_of_another_task_is_refused_by_the_rules_that_run_episodes(project):
    verdict = judge(project, project.register(), SMOOTH, {"name": "parity"}, task="gymnasium/Pendulum-v1")
    assert [finding.ok for finding in verdict.findings] == [False, True]
    assert "cannot act in 'gymnasium/Pendulum-v1' of this commit" in verdict.findings[0].found


class Raises(Rule):
    name: str

    def judge(self, evidence):
        raise ZeroDivisionError("no such figure")

    @classmethod
    def example(cls):
        return cls(name="test_gate:Raises")


class Exits(Raises):
    def judge(self, evidence):
        raise SystemExit(0)


class SaysNothing(Raises):
    def judge(self, evidence):
        return True


class TakesANameOfOthers(Raises):
    def judge(self, evidence):
        return self.holds("fine").model_copy(update={"rule": "floor"})


class Fails(Raises):
    error: str

    def judge(self, evidence):
        errors = {
            "simulator": SimulatorError("task 'x': step() raised ValueError."),
            "again": SimulatorError("the server is away.", retryable=True),
            "interrupted": InterruptedRunError("interrupted."),
            "config": ConfigError("task.options: no such robot."),
            "store": StoreUnavailableError("the store is away."),
        }
        raise errors[self.error]


@pytest.fixture
def evidence(tmp_path):
    return evidence_of(scored(tmp_path / "bundle", make_environment()))


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (Raises, "release rule 'mine' raised ZeroDivisionError: no such figure"),
        (Exits, "release rule 'mine' raised SystemExit: 0"),
        (SaysNothing, "judge() returned True"),
    ],
)
def test_a_projects_rule_that_fails_refuses_by_name(evidence, rule, found):
    (finding,) = judge_rules([rule(name="mine")], evidence)
    assert (finding.rule, finding.ok) == ("mine", False)
    assert found in finding.found
    assert "release.rules" in finding.advice


def test_a_finding_has_the_name_of_its_rule(evidence):
    (finding,) = judge_rules([TakesANameOfOthers(name="mine")], evidence)
    assert (finding.rule, finding.ok) == ("mine", True)


def test_an_error_of_the_task_refuses_and_one_that_may_pass_ends_it(evidence):
    for error in ("simulator", "config"):
        (finding,) = judge_rules([Fails(name="mine", error=error)], evidence)
        assert not finding.ok
    kinds = {"again": SimulatorError, "interrupted": InterruptedRunError, "store": StoreUnavailableError}
    for error, kind in kinds.items():
        with pytest.raises(kind):
            judge_rules([Fails(name="mine", error=error)], evidence)


def test_a_verdict_keeps_returns_that_are_not_finite_as_null(project, monkeypatch):
    steps = Robot._steps

    def overflowing(self, environment, seed, newest, path):
        run = steps(self, environment, seed, newest, path)
        return run._replace(episode=replace(run.episode, episode_return=math.inf))

    monkeypatch.setattr(Robot, "_steps", overflowing)
    verdict = judge(project, project.register(FALLS), NOISE)
    assert verdict.scores.candidate == (None, None)
    assert not verdict.accepted
    assert "mean return inf" in verdict.why()
    assert kept_verdict(project.workspace, verdict.candidate) == verdict


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_return_that_is_not_finite_is_refused_with_its_reason(evidence, monkeypatch, bad):
    runs = type(evidence.candidate)._run

    def spoiled(self, perturbation, n):
        return [
            one._replace(episode=replace(one.episode, episode_return=bad))
            for one in runs(self, perturbation, n)
        ]

    monkeypatch.setattr(type(evidence.candidate), "_run", spoiled)
    (finding,) = judge_rules(params_with(NOISE).release.rules, evidence)
    assert not finding.ok
    assert finding.figure is None
    assert f"mean return {bad}" in finding.found
    assert "not a finite number" in finding.advice
