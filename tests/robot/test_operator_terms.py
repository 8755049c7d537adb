"""The operator's terms bound what a bundle states of itself; the default bundle passes the default terms."""

import pytest
from factories import make_bundle, make_guards
from pydantic import ValidationError
from robot_fixtures import GOLDEN_ACTIONS, GOLDEN_OBSERVATIONS, SPEC, make_model

from sacpipe.bundle.guard_settings import CAUSES
from sacpipe.core.errors import GateError
from sacpipe.robot.load_gate import DEFAULT_GATE, LoadGateSettings, run_load_gate
from sacpipe.robot.operator_terms import DEFAULT_FALLBACKS, WeakestGuards
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.sources import read_source

QUICK = DEFAULT_GATE.replace(timing_runs=100)


@pytest.fixture
def check(tmp_path):
    """Run the load gate on a bundle with changes to its contract."""

    def run(settings=QUICK, spec=SPEC, **contract):
        steps = {"golden": {"tolerance": 1e-5, "num_steps": 3}}
        folder = make_bundle(
            tmp_path / "bundle", make_model(), spec, GOLDEN_OBSERVATIONS, GOLDEN_ACTIONS, **steps | contract
        )
        return run_load_gate(read_source(folder, allow_hard_links=False), settings)

    return run


def guards(**changes):
    return make_guards(**changes).as_tree()


def parity(tolerance):
    return {"tolerance": tolerance, "max_error": 0.0, "synthetic_max_error": 0.0, "num_observations": 3}


def test_the_default_bundle_passes(check):
    assert check().report.key_id is None


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (
            {"golden": {"tolerance": 1.0, "num_steps": 3}},
            r"golden.tolerance: expected at most 0.01 \(gate.max_golden_tolerance\), found 1.0",
        ),
        (
            {"parity": parity(0.5)},
            r"parity.tolerance: expected at most 0.01 \(gate.max_parity_tolerance\), found 0.5",
        ),
        (
            {"guards": guards(deadline_periods=1e5)},
            r"guards.deadline_periods: expected at most 1 \(gate.max_deadline_periods\), found 100000.0",
        ),
        (
            {"guards": guards(max_age_periods=1e5)},
            r"guards.max_age_periods: expected at most 10 \(gate.weakest_guards.max_age_periods\)",
        ),
        (
            {"envelope": {"low": [-1e30, 0.0, 0.0], "high": [10.0] * 3}},
            r"envelope: magnitude: expected at most 1e\+06 \(gate.max_envelope\), found 1e\+30",
        ),
        ({"guards": guards(max_future_periods=2.0)}, r"guards.max_future_periods: expected at most 1 "),
        ({"guards": guards(envelope_margin=50.0)}, r"guards.envelope_margin: expected at most 1 "),
        ({"guards": guards(max_last_steps=10**6)}, r"guards.max_last_steps: expected at most 25 "),
        ({"guards": guards(blend_steps=10**6)}, r"guards.blend_steps: expected at most 1000 "),
    ],
)
def test_a_bundle_does_not_set_its_own_bar(check, contract, message):
    with pytest.raises(GateError, match=rf"refused by the rule 'terms': contract.json: {message}") as refusal:
        check(**contract)
    assert refusal.value.rule == "terms"
    assert "or allow this in the file of --terms" in str(refusal.value)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_fallback_without_a_limit_is_refused_for_every_cause(check, cause):
    with pytest.raises(GateError, match=rf"guards.fallbacks.{cause}: expected one of last, zero, safe, stop"):
        check(guards=guards(fallbacks={cause: "hold"}))


def test_all_that_is_too_loose_is_named_at_once(check):
    off = guards(max_age_periods=1e6, deadline_periods=1e6, fallbacks=dict.fromkeys(CAUSES, "hold"))
    with pytest.raises(GateError) as refusal:
        check(guards=off)
    assert str(refusal.value).count("found") == 2 + len(CAUSES)


def test_the_operator_may_ask_for_more(check):
    for settings, name in [
        (QUICK.replace(max_golden_tolerance=1e-6), "golden.tolerance"),
        (QUICK.replace(min_golden_steps=4), "golden.num_steps"),
        (QUICK.replace(max_control_period_s=0.01), "spec.control_period_s"),
        (QUICK.replace(weakest_guards={"max_action_change": 0.2}), "guards.max_action_change"),
        (QUICK.replace(weakest_guards={"fallbacks": {"shape": ["safe"]}}), "guards.fallbacks.shape"),
    ]:
        with pytest.raises(GateError, match=name):
            check(settings)


def test_the_operator_may_allow_more(check):
    settings = QUICK.replace(max_deadline_periods=5.0, weakest_guards={"fallbacks": {"shape": ["hold"]}})
    check(settings, guards=guards(deadline_periods=5.0, fallbacks={"shape": "hold"}))


def test_a_task_without_a_clock_may_be_refused(check):
    settings = QUICK.replace(max_control_period_s=1.0)
    with pytest.raises(GateError, match="spec.control_period_s: expected at most 1 .* found None"):
        check(settings, spec=SPEC.replace(control_period_s=None))


def test_every_setting_of_the_guards_has_a_loosest_value():
    """A guard that is added needs a term of the operator; the exceptions are bounded by other rules."""
    own = make_guards().as_tree().keys() - {"safe_action", "deadline_periods"}
    assert WeakestGuards.model_fields.keys() == own
    assert tuple(DEFAULT_FALLBACKS) == CAUSES


def test_a_part_of_the_terms_keeps_the_other_defaults(tmp_path):
    (tmp_path / "terms.yaml").write_text("gate: {weakest_guards: {fallbacks: {shape: [stop]}}}\n")
    weakest = FollowSettings.read(tmp_path / "terms.yaml").gate.weakest_guards
    assert weakest.fallbacks == DEFAULT_FALLBACKS | {"shape": ("stop",)}
    assert weakest.max_age_periods == 10.0


@pytest.mark.parametrize(
    "changes",
    [
        {"max_golden_tolerance": 0},
        {"max_deadline_periods": 1e308},
        {"weakest_guards": {"fallbacks": {"shape": []}}},
        {"weakest_guards": {"fallbacks": {"shapes": ["stop"]}}},
        {"weakest_guards": {"max_age": 1}},
    ],
)
def test_terms_that_mean_nothing_are_refused(changes):
    with pytest.raises(ValidationError):
        LoadGateSettings.model_validate(DEFAULT_GATE.as_tree() | changes, strict=False)
