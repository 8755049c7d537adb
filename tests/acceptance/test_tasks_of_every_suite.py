"""Tasks of every suite, from the contract of an environment and 2,000 steps of training to an evaluation."""

import pytest
from small_project import SHORT, make_project, sacpipe, with_release, with_values
from suite_trials import ENVS, SHARED, TRIALS

from sacpipe.core.files import read_json
from sacpipe.envs import find_task
from sacpipe.params.defaults import params_text
from sacpipe.project.identity.dependency_lines import listed_needs
from sacpipe.testing.environments import check_env

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("suites") / "project")


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.task}-{len(str(trial.options))}")
def test_task_keeps_the_contract_and_is_trained_exported_and_evaluated(project, trial):
    check_env(find_task(trial.task).replace(options=trial.options))
    options = [f"task.options.{key}={value}" for key, value in trial.options.items()]
    text = with_values(with_release(params_text(trial.task, steps=2000, assignments=options)), **SHORT)
    (project / "params.yaml").write_text(text)
    sacpipe(project, "run", "--engine", "local", check=0)
    metrics = read_json(project / "out" / "evaluate" / "metrics.json", AssertionError)
    for policy in ("deterministic", "stochastic", "bundle"):
        assert metrics[policy]["length_mean"] > 0
    contract = read_json(project / "out" / "export" / "bundle" / "contract.json", AssertionError)
    assert contract["spec"]["task"] == trial.task
    if trial.files is not None:
        needed = {path for path in listed_needs(project, "train").files if path.startswith(ENVS)}
        assert needed - SHARED == trial.files
