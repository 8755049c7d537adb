"""The operator's terms bound what a bundle states of itself; the default bundle passes the default terms."""

import sys

import pytest
from bundle_factories import make_bundle
from guard_factories import make_settings
from guard_package import GUARD, install_guard
from pydantic import ValidationError
from robot_fixtures import GOLDEN_ACTIONS, GOLDEN_OBSERVATIONS, SPEC, make_model

from sacpipe.bundle.guards import GUARDS, find_guard
from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.core.errors import ConfigError, GateError
from sacpipe.robot.load_gate import DEFAULT_GATE, LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.sources import read_source

QUICK = DEFAULT_GATE.replace(timing_runs=100)
TILT = {"name": "tilt", "fallback": "stop", "max_tilt": 2.0}


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


def runtime(guards=None, **changes):
    return {"runtime": make_settings(guards, **changes).as_tree()}


def envelope(lowest=-10.0, longest=1):
    return {
        "envelope": {
            "low": {"position": [lowest, 0.0], "velocity": [0.0]},
            "high": {"position": [10.0, 10.0], "velocity": [10.0]},
            "longest_constant": {"position": longest, "velocity": 1},
        }
    }


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
            runtime({"deadline_missed": {"deadline_periods": 1e5}}),
            r"runtime.guards.deadline_missed.deadline_periods: expected at most 1 "
            r"\(gate.weakest_guards.deadline_missed\), found 100000.0",
        ),
        (
            runtime({"observation_old": {"max_age_periods": 1e5}}),
            r"runtime.guards.observation_old.max_age_periods: expected at most 10 ",
        ),
        (
            runtime({"observation_from_future": {"max_future_periods": 2.0}}),
            r"runtime.guards.observation_from_future.max_future_periods: expected at most 1 ",
        ),
        (
            runtime({"start_outside_envelope": {"margin": 50.0}}),
            r"runtime.guards.start_outside_envelope.margin: expected at most 1 ",
        ),
        (
            envelope(lowest=-1e30),
            r"envelope: magnitude: expected at most 1e\+06 \(gate.max_envelope\), found 1e\+30",
        ),
        (runtime(max_last_steps=10**6), r"runtime.max_last_steps: expected at most 25 \(gate.max_last_steps"),
        (runtime(blend_steps=10**6), r"runtime.blend_steps: expected at most 1000 \(gate.max_blend_steps"),
        (runtime(ramp_steps=10**6), r"runtime.ramp_steps: expected at most 1000 \(gate.max_ramp_steps"),
        (
            runtime(term_max_age_periods={"position": 10.5}),
            r"runtime.term_max_age_periods.position: expected at most 10 "
            r"\(gate.weakest_guards.observation_old; gate.max_term_age_periods may allow more\), found 10.5",
        ),
    ],
)
def test_a_bundle_does_not_set_its_own_bar(check, contract, message):
    with pytest.raises(GateError, match=rf"refused by the rule 'terms': contract.json: {message}") as refusal:
        check(**contract)
    assert refusal.value.rule == "terms"
    assert "or allow this in the file of --terms" in str(refusal.value)


@pytest.mark.parametrize("name", GUARDS.ours)
def test_a_fallback_without_a_limit_is_refused_for_every_guard(check, name):
    with pytest.raises(GateError, match=rf"runtime.guards.{name}.fallback: expected one of last, zero, safe"):
        check(**runtime({name: {}}, fallbacks={name: "hold"}))


def test_much_that_is_too_loose_is_named_at_once_and_the_rest_counted(check):
    guards = {
        "observation_old": {"max_age_periods": 1e6},
        "deadline_missed": {"deadline_periods": 1e6},
    }
    with pytest.raises(GateError) as refusal:
        check(**runtime(guards, fallbacks="hold"))
    on_by_default = [name for name in GUARDS.ours if find_guard(name).default() is not None]
    assert len(on_by_default) == 12
    assert str(refusal.value).count("found") == 10
    assert "; and 4 more." in str(refusal.value)


def weakest(name, **changes):
    guard = find_guard(name)
    return {"weakest_guards": [(guard.default() or guard.example()).replace(**changes).as_tree()]}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"max_golden_tolerance": 1e-6}, "golden.tolerance"),
        ({"min_golden_steps": 4}, "golden.num_steps"),
        ({"max_control_period_s": 0.01}, "spec.control_period_s"),
        ({"max_envelope": 5.0}, "envelope: magnitude"),
        ({"max_watchdog_periods": 3.0}, "runtime.watchdog_periods: expected at most 3 .*, found None"),
        ({"stop_categories": [0]}, "runtime.stop_category: expected one of 0 .*, found 1"),
        (weakest("action_change", max_change=0.2), "runtime.guards.action_change.max_change: .* 0.2"),
        (weakest("observation_old", max_age_periods=1.0), "runtime.guards.observation_old.max_age_periods"),
        ({"allowed_fallbacks": {"shape": ["safe"]}}, "runtime.guards.shape.fallback: expected one of safe"),
        (weakest("sensor_frozen"), "runtime.guards.sensor_frozen: expected this guard .*, found none"),
    ],
)
def test_the_operator_may_ask_for_more(check, changes, name):
    with pytest.raises(GateError, match=name):
        check(QUICK.replace(**changes))


def test_the_operator_may_require_a_frozen_sensor_to_be_seen(check):
    settings = QUICK.replace(**weakest("sensor_frozen", max_repeats=10))
    check(settings, **runtime({"sensor_frozen": {"max_repeats": 10}}))
    for looser in ({"max_repeats": 11}, {"terms": ["velocity"]}):
        with pytest.raises(GateError, match=f"runtime.guards.sensor_frozen.{next(iter(looser))}: expected"):
            check(settings, **runtime({"sensor_frozen": looser}))


def test_the_operator_may_bound_how_long_a_sensor_may_stand_still(check):
    check(**envelope(longest=1000))
    with pytest.raises(GateError, match="envelope.longest_constant: expected at most 50 .*, found 1000"):
        check(QUICK.replace(max_longest_constant=50), **envelope(longest=1000))


@pytest.mark.parametrize(("terms", "said"), [(None, "position"), (["velocity", "position"], "position")])
def test_an_envelope_does_not_turn_off_the_frozen_sensor_that_the_operator_requires(check, terms, said):
    settings = QUICK.replace(**weakest("sensor_frozen", max_repeats=10, terms=terms))
    guard = runtime({"sensor_frozen": {"max_repeats": 10}})
    check(settings, **guard, **envelope(longest=11))
    with pytest.raises(
        GateError,
        match=rf"envelope.longest_constant.{said}: expected at most 11 \(gate.weakest_guards.sensor_frozen; "
        r"gate.max_longest_constant may allow more\), found 12",
    ):
        check(settings, **guard, **envelope(longest=12))
    check(settings.replace(max_longest_constant=12), **guard, **envelope(longest=12))


def test_a_term_that_the_operator_does_not_require_to_change_may_be_constant(check):
    settings = QUICK.replace(**weakest("sensor_frozen", max_repeats=10, terms=["velocity"]))
    check(settings, **runtime({"sensor_frozen": {"max_repeats": 10}}), **envelope(longest=10**6))


def test_a_terms_age_is_bounded_as_an_observations_unless_the_operator_says_otherwise(check):
    one_period = weakest("observation_old", max_age_periods=1.0)
    old = {"observation_old": {"max_age_periods": 1.0}}
    with pytest.raises(GateError, match="term_max_age_periods.position: expected at most 1 .*, found 1.5"):
        check(QUICK.replace(**one_period), **runtime(old, term_max_age_periods={"position": 1.5}))
    allowed = QUICK.replace(**one_period, max_term_age_periods=20.0)
    check(allowed, **runtime(old, term_max_age_periods={"position": 20.0}))
    with pytest.raises(GateError, match=r"expected at most 20 \(gate.max_term_age_periods\), found 21.0"):
        check(allowed, **runtime(old, term_max_age_periods={"position": 21.0}))


def test_the_operator_may_allow_more(check):
    settings = QUICK.replace(
        **weakest("deadline_missed", deadline_periods=5.0), allowed_fallbacks={"shape": ["hold"]}
    )
    check(settings, **runtime({"deadline_missed": {"deadline_periods": 5.0}}, fallbacks={"shape": "hold"}))


def test_a_task_without_a_clock_may_be_refused(check):
    settings = QUICK.replace(max_control_period_s=1.0)
    with pytest.raises(GateError, match="spec.control_period_s: expected at most 1 .* found None"):
        check(settings, spec=SPEC.replace(control_period_s=None))


def test_every_number_of_the_runtime_has_a_bound_of_the_operator():
    """A number that is added needs a term; the exceptions are bounded by other rules."""
    bounds = {
        "max_last_steps": "max_last_steps",
        "blend_steps": "max_blend_steps",
        "ramp_steps": "max_ramp_steps",
        "watchdog_periods": "max_watchdog_periods",
        "term_max_age_periods": "max_term_age_periods",
        "stop_category": "stop_categories",
        "guards": "weakest_guards",
    }
    assert bounds.keys() == RuntimeSettings.model_fields.keys() - {"safe_action"}
    assert set(bounds.values()) <= LoadGateSettings.model_fields.keys()


def test_a_part_of_the_terms_keeps_the_other_defaults(tmp_path):
    (tmp_path / "terms.yaml").write_text("gate: {allowed_fallbacks: {shape: [stop]}, max_ramp_steps: 5}\n")
    gate = FollowSettings.read(tmp_path / "terms.yaml").gate
    assert gate.allowed_fallbacks == {"shape": ("stop",)}
    assert (gate.max_ramp_steps, gate.max_blend_steps) == (5, 1000)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_golden_tolerance": 0},
        {"max_ramp_steps": 10**9},
        {"max_watchdog_periods": 1e308},
        {"stop_categories": []},
        {"stop_categories": [3]},
        {"allowed_fallbacks": {"shape": []}},
        {"allowed_fallbacks": {"shapes": ["stop"]}},
        {"weakest_guards": [{"name": "shape"}]},
        {"weakest_guards": [{"name": "shapes", "fallback": "stop"}]},
        {"weakest_guards": [{"name": "shape", "fallback": "stop"}] * 2},
        {"enabled_guards": ["my_robot.guards:Tilt"]},
        {"max_parity_tolerance": 0.01},
    ],
)
def test_terms_that_mean_nothing_are_refused(changes):
    with pytest.raises(ValidationError):
        LoadGateSettings.model_validate(DEFAULT_GATE.as_tree() | changes, strict=False)


class TestForeignGuards:
    """A guard of another package runs where it is installed and its operator enabled its name."""

    @pytest.fixture
    def install(self, tmp_path, monkeypatch):
        return lambda code=GUARD: install_guard(tmp_path / "site", monkeypatch, code)

    @pytest.fixture
    def enabled(self):
        return QUICK.replace(enabled_guards=["tilt"])

    def contract(self, **changes):
        return {"runtime": make_settings().as_tree() | {"guards": [TILT | changes]}}

    def test_enabled(self, check, install, enabled):
        """The golden observations begin with 0.5, 3 and 0; 2 is the limit."""
        install()
        policy = check(enabled, **self.contract()).policy
        runtime = Runtime(policy, clock_ns=iter(range(10**12, 2 * 10**12, 1000)).__next__)
        verdicts = []
        for stamp_ns, first in ((10**12 - 1, 1.9), (10**12, 2.1)):
            observation = {"position": [first, 0.0], "velocity": [0.0]}
            given = SPEC.layout.pack(observation)
            verdicts.append(runtime.step(given, stamp_ns).reasons)
        assert verdicts == [(), ("tilt",)]
        assert runtime.causes["tilt"] == 1

    def test_not_enabled_is_refused_by_its_name_and_its_code_does_not_run(self, check, install, tmp_path):
        install()
        check(QUICK.replace(enabled_guards=["tilt"]), **self.contract())
        del sys.modules["tilt_guard"]
        files = read_source(tmp_path / "bundle", allow_hard_links=False)
        with pytest.raises(
            GateError, match=r"those enabled here \(gate.enabled_guards\), found 'tilt'"
        ) as refusal:
            run_load_gate(files, QUICK)
        assert refusal.value.rule == "terms"
        assert "tilt_guard" not in sys.modules

    def test_enabled_and_not_installed_is_refused_by_its_name(
        self, check, install, enabled, tmp_path, monkeypatch
    ):
        install()
        check(enabled, **self.contract())
        monkeypatch.undo()
        files = read_source(tmp_path / "bundle", allow_hard_links=False)
        with pytest.raises(
            GateError, match="no guard 'tilt' is installed here. Install the package"
        ) as refusal:
            run_load_gate(files, enabled)
        assert refusal.value.rule == "contract"

    def test_its_own_limit_is_compared(self, check, install, enabled):
        install()
        with pytest.raises(
            GateError, match="runtime.guards.tilt.max_tilt: expected at most 50 .*, found 60.0"
        ):
            check(enabled, **self.contract(max_tilt=60.0))
        stricter = enabled.replace(weakest_guards=[TILT])
        with pytest.raises(GateError, match="runtime.guards.tilt.max_tilt: expected at most 2 .*, found 3.0"):
            check(stricter, **self.contract(max_tilt=3.0))

    @pytest.mark.parametrize(
        ("change", "rule", "said"),
        [
            (("ArmedTilt(self.max_tilt)", "1 / 0"), "runtime", "guard 'tilt': expected one that fits"),
            (("bool(step", "bool(1 / 0 or step"), "runtime", "found ZeroDivisionError at the golden step 0"),
            (("max_tilt=50.0", "max_tilt=5000.0"), "terms", "expected a comparison"),
        ],
    )
    def test_code_that_fails_is_a_refusal(self, check, install, enabled, change, rule, said):
        install(GUARD.replace(*change))
        with pytest.raises(GateError, match=said) as refusal:
            check(enabled, **self.contract())
        assert refusal.value.rule == rule

    def test_an_import_path_is_no_name(self, check, install, enabled):
        install()
        with pytest.raises(ConfigError, match="no guard 'tilt_guard:Tilt' is installed here"):
            check(enabled, **self.contract(name="tilt_guard:Tilt"))

    def test_a_policy_is_loaded_with_it_on_the_machine_that_made_it(self, check, install, enabled, tmp_path):
        install()
        check(enabled, **self.contract())
        assert OnnxPolicy(tmp_path / "bundle").contract.runtime.guards[0].name == "tilt"
