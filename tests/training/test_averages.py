"""Means of the metrics of updates, and what becomes of one that is not finite."""

import pytest
from small_run import make_params, run_once

from sacpipe.algorithms.sac import SAC
from sacpipe.core.errors import DivergenceError
from sacpipe.training.metrics import Averages


def test_a_name_that_an_update_leaves_out_has_the_mean_of_the_others():
    averages = Averages()
    for metrics in ({"a": 1.0, "b": 4.0}, {"a": 3.0}):
        averages.add(metrics)
    assert averages.take() == {"a": 2.0, "b": 4.0}
    assert averages.take() == {}


@pytest.mark.slow
def test_a_metric_that_is_not_finite_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(SAC, "diagnostics", lambda self: {"critic/loss": float("inf")})
    with pytest.raises(DivergenceError, match="step 25: the metric critic/loss is inf"):
        run_once(tmp_path, make_params())
