"""Every task of the suite keeps the contract, and has Softlearning's id."""

import pytest

from sacpipe.core.errors import UnknownTaskError
from sacpipe.envs import find_task
from sacpipe.envs.softlearning.suite import SoftlearningTask
from sacpipe.testing.environments import check_env


@pytest.mark.parametrize("task_id", SoftlearningTask.tasks())
def test_task_keeps_the_contract_with_all_suggested_metrics(task_id):
    task = find_task(f"softlearning/{task_id}").replace(options={"max_episode_steps": 30})
    environment = task.make()
    metrics = environment.suggested_metrics()
    environment.close()
    assert "is_success" in metrics
    check_env(task.replace(metrics=metrics))


@pytest.mark.parametrize("task_id", SoftlearningTask.tasks())
def test_every_term_and_action_has_a_unit(task_id):
    environment = find_task(f"softlearning/{task_id}").make()
    terms = [*environment.spec.observation, *environment.spec.action]
    assert "unknown" not in {term.unit for term in terms}
    environment.close()


def test_unknown_task_offers_the_nearest():
    with pytest.raises(UnknownTaskError, match="softlearning/Pusher2d-Default-v0"):
        find_task("softlearning/pusher2d-default-v0")
