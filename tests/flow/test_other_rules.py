"""Whose rules judge a candidate, where those of the working params.yaml are others."""

import pytest
from committed_project import commit, edit, make, run

from sacpipe.flow.release_steps import other_rules
from sacpipe.release.candidate import find_commit

RULES = ("rules: []", "rules: [{name: parity}]")


@pytest.fixture
def older(tmp_path):
    """A project whose first commit has a candidate, and the last one the results of another."""
    workspace = make(tmp_path)
    entries = run(tmp_path, "first")
    first = commit(tmp_path)
    run(tmp_path, "second")
    commit(tmp_path)
    return workspace, entries, first


@pytest.mark.slow
def test_the_last_commit_of_a_candidate_that_was_restored_counts_until_dvc_lock_is_committed(older):
    workspace, entries, first = older
    edit(workspace.params, *RULES)
    commit(workspace.root)
    run(workspace.root, "first")
    assert other_rules(workspace, find_commit(workspace, entries)) == (
        f"judged under the rules of {first[:12]}, the newest commit that holds this candidate; those in "
        "params.yaml differ. Commit dvc.lock to judge under these."
    )
    last = commit(workspace.root)
    assert find_commit(workspace, entries).commit == last


def test_an_uncommitted_edit_names_params_yaml_too(older):
    workspace, entries, _ = older
    run(workspace.root, "first")
    edit(workspace.params, *RULES)
    text = other_rules(workspace, find_commit(workspace, entries))
    assert text.endswith(" Commit dvc.lock and params.yaml to judge under these.")
