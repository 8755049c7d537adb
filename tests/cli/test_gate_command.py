"""`sacpipe gate`: the verdict in words, as JSON and as a page, and its exit code."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from pole_policies import FALLS, MODEL, TASK, PendulumProject
from small_project import IDENTITY, with_release

from sacpipe.params.defaults import params_text
from sacpipe.project.workspace import STAGES
from sacpipe.release.real_world import open_world
from sacpipe.release.versions import write_version
from sacpipe.tracking.registry import BARRED_TAG

NOISE = "{name: observation_noise, episodes: 2, min_return: 900.0, max_loss: null, deviation: 0.0001}"

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path):
    """A project that is no git repository, with its params.yaml."""
    made = PendulumProject(tmp_path / "project")
    text = with_release(params_text(TASK), NOISE, "{name: parity}", model_name=MODEL)
    made.workspace.params.write_text(text)
    (made.workspace.root / "dvc.yaml").write_text("stages: {}\n")
    (made.workspace.root / "versions.lock").write_text(f"numpy: {np.__version__}\n")
    return made


def register(project, **changes):
    """Register a policy as the candidate, and make it the present bundle."""
    version = project.register(**changes)
    project.tracker.registry.set_alias(MODEL, "candidate", version.version)
    entries = {
        stage: {"cmd": f"make {stage}", "outs": [{"path": f"out/{stage}", "md5": "0" * 32}]}
        for stage in STAGES
    }
    write_version(open_world(project.workspace, project.tracker), version, entries)
    (bundle,) = (path for path in project.workspace.root.glob("bundle-*"))
    project.workspace.bundle.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(bundle, project.workspace.bundle, dirs_exist_ok=True)
    return version


def test_the_candidate_is_judged_in_words(project, call):
    register(project)
    done = call(project.workspace.root, "gate")
    assert done.code == 0, done.err
    first, noise, parity, judged = done.out.splitlines()
    assert first == "pendulum version 1 is accepted"
    assert noise.startswith(
        "  ok       observation_noise: mean return 1,000 with noise of 0.01 % of each observation's range"
    )
    assert parity.startswith("  ok       parity: the bundle's golden actions on this machine differ by")
    assert judged.endswith(", 4 episodes")
    assert "no commit holds this version yet: it is judged under params.yaml as it is" in done.err


def test_a_refusal_has_exit_code_1_and_says_how_to_get_further(project, call):
    register(project, gains=FALLS)
    done = call(project.workspace.root, "gate", "1")
    assert done.code == 1
    assert done.out.startswith("pendulum version 1 is refused\n")
    assert done.out.endswith("\n  page     sacpipe gate 1 --page verdict.html\n")
    assert (
        "set another threshold of `observation_noise` in release.rules of params.yaml and commit it"
        in done.out
    )


def test_json_is_the_verdict_and_the_page_is_written(project, call, tmp_path):
    version = register(project)
    page = tmp_path / "verdict.html"
    done = call(project.workspace.root, "gate", "--json", "--page", str(page))
    tree = json.loads(done.out)
    assert (tree["accepted"], tree["candidate"], tree["episodes"]) == (True, version.bundle_digest, 4)
    assert "pendulum version 1: accepted" in page.read_text()
    assert f"page {page}" in done.err


def test_the_page_names_champion_bar_and_who_made_it(project, call, tmp_path):
    root, page, registry = project.workspace.root, tmp_path / "verdict.html", project.tracker.registry
    first = register(project)
    registry.set_alias(MODEL, "champion", first.version)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    assert call(root, "history", "--adopt", "--reason", "a test").code == 0
    registry.set_version_tags(MODEL, first.version, {BARRED_TAG: "rolled back at noon by Eve: it trembles"})
    done = call(root, "gate", "--page", str(page))
    assert page.is_file(), done.err
    text = page.read_text()
    assert "version 1 (bundle <code" in text.partition("<dt>Champion</dt>")[2][:60]
    assert "<dt>Barred</dt><dd>rolled back at noon by Eve: it trembles</dd>" in text
    name, email = (IDENTITY[f"GIT_COMMITTER_{part}"] for part in ("NAME", "EMAIL"))
    assert f"<dt>Page by</dt><dd>{name} &lt;{email}&gt;</dd>" in text
    assert "there is nothing to promote" in text


def test_a_version_that_is_not_there_is_an_error(project, call):
    register(project)
    done = call(project.workspace.root, "gate", "7")
    assert done.code == 2
    assert "no version or alias '7'" in done.err


def test_a_version_of_no_commit_that_is_not_the_present_bundle_is_an_error(project, call):
    register(project)
    shutil.rmtree(project.workspace.bundle)
    done = call(project.workspace.root, "gate")
    assert done.code == 2
    assert "there is no git repository" in done.err
