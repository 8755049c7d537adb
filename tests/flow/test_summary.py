"""The summary of a run shows the share of episodes that end in success, where the task says so."""

import pytest

from sacpipe.evaluation.statistics import EvaluationSummary, TaskMetric
from sacpipe.flow.summary import Summary

RETURNS = dict.fromkeys(("mean", "median", "iqm", "std", "min", "max", "ci_low", "ci_high"), -1.0)


@pytest.mark.parametrize(
    ("metrics", "lines"),
    [
        (
            {"is_success": (0.1, 0.85), "goal_distance": (0.2, 0.1)},
            ["success    85% of the episodes, by is_success in the last step"],
        ),
        ({"reward_ctrl": (0.1, 0.5)}, []),
    ],
)
def test_success_is_that_of_the_last_step(metrics, lines):
    found = {name: TaskMetric(mean=mean, last=last) for name, (mean, last) in metrics.items()}
    returns = {f"return_{name}": value for name, value in RETURNS.items()}
    evaluated = EvaluationSummary(episodes=20, length_mean=50.0, task_metrics=found, **returns)
    assert Summary.model_construct(deterministic=evaluated, is_stochastic=False)._success() == lines
    assert Summary.model_construct(bundle=evaluated, is_stochastic=True)._success() == lines
