"""What the release gate reads of a version's origin: the export's parity, and links that do not hold."""

from dataclasses import replace

import pytest
from pole_policies import PendulumProject

from sacpipe.release.origin import find_parity, lineage_faults
from sacpipe.tracking.tracker import STAGE_KEY_TAG

METRICS = {
    "parity_tolerance": 1e-4,
    "parity_max_error": 2e-6,
    "parity_max_error_synthetic": 3e-6,
    "parity_observations": 4160.0,
}


@pytest.fixture
def project(tmp_path):
    return PendulumProject(tmp_path / "project")


def recorded(project, metrics):
    """Register a version whose export run has these metrics."""
    version = project.register()
    run = project.tracker.ensure_run("e" * 64, "export", {}, {})
    project.tracker.log_metrics(run, metrics)
    return replace(version, tags={**version.tags, STAGE_KEY_TAG: "e" * 64})


def test_parity_is_that_of_the_export_run(project):
    version = recorded(project, METRICS)
    found = find_parity(project.tracker, version)
    assert found.as_tree() == METRICS | {"bundle_digest": version.bundle_digest, "parity_observations": 4160}


@pytest.mark.parametrize("lacking", METRICS)
def test_a_run_without_a_number_has_no_parity(project, lacking):
    numbers = {name: value for name, value in METRICS.items() if name != lacking}
    assert find_parity(project.tracker, recorded(project, numbers)) is None


def test_a_version_without_a_run_has_no_parity(project):
    version = project.register()
    assert find_parity(project.tracker, version) is None
    other = replace(version, tags={**version.tags, STAGE_KEY_TAG: "f" * 64})
    assert find_parity(project.tracker, other) is None


def test_links_to_commits_are_left_to_the_promotion(project, monkeypatch):
    from sacpipe.tracking.lineage import Edge

    edges = [
        Edge(name="version -> bundle", expected="a", found="a", ok=True),
        Edge(name="train run -> params", expected="a", found="b", ok=False),
        Edge(name="train run -> commit", expected="a", found="no commit was recorded", ok=False),
    ]
    calls = []
    monkeypatch.setattr("sacpipe.release.origin.lineage", lambda *names: calls.append(names[2]) or edges)
    assert lineage_faults(project.workspace, project.tracker, project.register()) == (
        "train run -> params: expected a, found b",
    )
    assert calls == ["pendulum/1"]
