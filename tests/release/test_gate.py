"""The release gate: each rule is tested on both sides of its bound."""

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.statistics import summarise
from sacpipe.export.config import ExportMetrics
from sacpipe.release.gate import ReleaseConfig, evaluate_release

EVALUATION = EvaluationConfig(episodes=20, bootstrap_resamples=10, confidence=0.95, video=None)


def released(floor=9_300.0, **changes):
    """Evaluate a release of these numbers, each of which a change replaces."""
    mean = changes.get("return_mean", 9_300.0)
    episodes = [Episode(seed, mean, 10, terminated=True, truncated=False) for seed in range(20)]
    bundle = summarise(episodes, EVALUATION, 0)
    exported = ExportMetrics(
        bundle_digest="ab",
        parity_tolerance=1e-5,
        parity_max_error=changes.get("parity_max_error", 1e-6),
        parity_max_error_synthetic=1e-6,
        parity_observations=10,
    )
    return evaluate_release(bundle, exported, config(floor))


def config(floor=9_300.0, name="pole"):
    return ReleaseConfig.parse({"model_name": name, "min_return_mean": floor})


@pytest.mark.parametrize(
    ("changes", "floor", "accepted"),
    [
        ({}, 9_300.0, True),
        ({"return_mean": 9_299.99}, 9_300.0, False),
        ({"return_mean": -1e9}, None, True),
        ({"parity_max_error": 1e-5}, 9_300.0, True),
        ({"parity_max_error": 1.1e-5}, 9_300.0, False),
        ({"parity_max_error": 1.1e-5}, None, False),
    ],
)
def test_every_rule_must_hold(changes, floor, accepted):
    verdict = released(floor, **changes)
    assert verdict.accepted is accepted
    assert verdict.accepted is all(reason.ok for reason in verdict.reasons)


def test_a_refusal_has_the_expected_and_the_found_value():
    verdict = released(return_mean=12.5)
    assert [(r.rule, r.expected, r.found) for r in verdict.reasons if not r.ok] == [
        ("minimum return", "mean return of at least 9300", "12.50 over 20 episodes")
    ]


def test_a_name_the_registry_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match="model_name"):
        config(name="a/b")
