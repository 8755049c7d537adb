"""The summary of a run shows the share of episodes that end in success, where the task says so."""

import pytest

from sacpipe.evaluation.statistics import EvaluationSummary, TaskMetric
from sacpipe.flow.summary import Summary
from sacpipe.project.workspace import Workspace
from sacpipe.testing.orchestrators import example_summary

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


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "example version 1 is candidate; no version is champion"),
        ({"alias": "champion", "previous": 3}, "example version 1 is champion, after version 3"),
        (
            {"alias": "", "candidate": 4, "previous": 3, "barred": "rolled back"},
            "example version 1 is barred; candidate stays version 4; version 3 stays champion",
        ),
        (
            {"previous": 3, "barred": "rolled back"},
            "example version 1 is barred; version 3 stays champion",
        ),
        (
            {"alias": "", "candidate": 4},
            "example version 1 is registered; candidate stays version 4; no version is champion",
        ),
    ],
)
def test_the_line_of_the_registry_is_where_the_aliases_are(tmp_path, changes, line):
    made = example_summary(Workspace(tmp_path))
    assert (
        f"\nregistry   {line}\n"
        in made.model_copy(update={"promotion": made.promotion.replace(**changes)}).text()
    )


def test_a_refused_run_names_the_page_and_what_to_do_next(tmp_path):
    text = example_summary(Workspace(tmp_path), is_accepted=False).text()
    assert text.endswith(
        "\npage       sacpipe gate 1 --page verdict.html\n"
        "next       change what the refused lines name, or train longer (sacpipe run --extend) or with another "
        "seed; then commit\n"
    )
    assert "page " not in example_summary(Workspace(tmp_path)).text()


def test_a_summary_says_what_is_other_in_the_working_rules(tmp_path):
    made = example_summary(Workspace(tmp_path))
    changed = made.model_copy(
        update={"promotion": made.promotion.replace(working_rules="without rule floor")}
    )
    assert "\n  rules    those in params.yaml differ: without rule floor\n" in changed.text()
