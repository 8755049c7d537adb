"""Guards of a contract in order, with thresholds in nanoseconds and task units."""

import pytest
from bundle_factories import make_contract, make_onnx, make_spec
from guard_factories import make_settings
from guard_package import install_guard

from sacpipe.bundle.guards import GUARDS, parse_guard
from sacpipe.core.errors import BundleError
from sacpipe.robot.armed_guards import ArmedGuards, guards_in_service
from sacpipe.robot.guards.guard import NEVER_NS, nanoseconds

SPEC = make_spec(2, bounds=((-2.0, 3.0), (1.0, 5.0)))
OFF = ("sensor_frozen", "outside_envelope")
TILT = {"name": "tilt", "fallback": "stop", "max_tilt": 2.0}


@pytest.fixture(scope="module")
def contract():
    return make_contract(make_onnx([[1, 0], [0, 1]]).SerializeToString(), SPEC)


def names(settings):
    return [guard.name for guard in guards_in_service(settings)]


def test_a_guard_that_is_not_listed_has_its_default_and_may_be_off():
    assert names(make_settings()) == [name for name in GUARDS.ours if name not in OFF]
    assert guards_in_service(make_settings())[0] == GUARDS.find("shape").default()


def test_the_order_is_that_of_the_table_whatever_the_list_says():
    listed = make_settings({"deadline_missed": {}, "sensor_frozen": {}, "outside_envelope": {}, "shape": {}})
    assert names(listed) == list(GUARDS.ours)


def test_a_guard_of_another_package_comes_before_the_deadline(tmp_path, monkeypatch, contract):
    install_guard(tmp_path, monkeypatch)
    settings = make_settings().replace(guards=[TILT])
    assert names(settings)[-2:] == ["tilt", "deadline_missed"]
    armed = ArmedGuards.of(settings, contract, 0.02)
    assert [name for name, _ in armed.observation][-1] == "tilt"
    assert [name for name, _ in armed.action][-1] == "deadline_missed"


def test_a_config_without_code_cannot_be_armed(tmp_path, monkeypatch, contract):
    code = "from sacpipe.bundle.guards import GuardConfig\n\nclass Tilt(GuardConfig):\n    max_tilt: float\n"
    install_guard(tmp_path, monkeypatch, code)
    settings = make_settings().replace(guards=[TILT])
    with pytest.raises(
        BundleError, match="guard 'tilt': expected a subclass of sacpipe.robot.guards.guard.Guard"
    ):
        ArmedGuards.of(settings, contract, 0.02)


def test_a_guard_that_does_not_fit_the_task_cannot_be_armed(contract):
    settings = make_settings({"sensor_frozen": {"terms": ["camera"]}})
    with pytest.raises(BundleError, match="guard 'sensor_frozen': .*found 'camera'"):
        ArmedGuards.of(settings, contract, 0.02)


def test_an_age_limit_of_an_unknown_term_is_refused(contract):
    """Settings of a robot replace the contract's, whose terms are checked when it is read."""
    settings = make_settings(term_max_age_periods={"sate": 1.0})
    with pytest.raises(BundleError, match="runtime.term_max_age_periods: .*found 'sate'"):
        ArmedGuards.of(settings, contract, 0.02)


def test_the_settings_are_converted(contract):
    settings = make_settings(
        safe_action=[3.0, 5.0], max_last_steps=7, ramp_steps=4, stop_category=2, watchdog_periods=3.0
    )
    armed = ArmedGuards.of(settings, contract, 0.02)
    assert (armed.safe_action, armed.max_last_steps, armed.ramp_steps) == ([3.0, 5.0], 7, 4)
    assert (armed.stop_category, armed.watchdog_ns) == (2, 60_000_000)
    assert armed.reasons["watchdog"] == ("watchdog",)
    assert ArmedGuards.of(settings, contract, None).watchdog_ns == NEVER_NS
    assert ArmedGuards.of(make_settings(), contract, 0.02).watchdog_ns is None


def test_without_a_safe_action_it_is_the_nearest_to_zero(contract):
    assert ArmedGuards.of(make_settings(), contract, 0.02).safe_action == [0.0, 1.0]


def test_only_observations_that_are_damaged_late_or_frozen_are_no_data(contract):
    settings = make_settings({"sensor_frozen": {}, "outside_envelope": {}})
    assert ArmedGuards.of(settings, contract, 0.02).discarding == {
        "shape",
        "observation_not_finite",
        "observation_old",
        "observation_from_future",
        "observation_repeated",
        "observation_out_of_order",
        "sensor_frozen",
    }


def test_the_bounds_limit_last(contract):
    """A limit of another guard never leaves them: the change is limited first."""
    armed = ArmedGuards.of(make_settings(), contract, 0.02)
    kinds = [type(armed).__module__.rpartition(".")[2] for armed in armed.limits]
    assert kinds == ["action_change", "action_outside_bounds"]


@pytest.mark.parametrize(
    ("periods", "period_s", "expected"),
    [(2.0, 1.0, 2 * 10**9), (0.5, 0.02, 10**7), (1e6, 1e300, NEVER_NS), (1.0, None, NEVER_NS), (0.0, 1.0, 0)],
)
def test_periods_are_nanoseconds(periods, period_s, expected):
    assert nanoseconds(periods, period_s) == expected


def test_a_config_is_its_own_guard():
    guard = GUARDS.find("shape").default()
    assert parse_guard(guard) is guard
