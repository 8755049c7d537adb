"""A list of guards names registered guards only, each with bounds on its numbers."""

import pytest
from bundle_factories import make_runtime
from guard_package import install_guard

from sacpipe.bundle.guards import GUARDS, WATCHDOG, find_guard, parse_guard
from sacpipe.core.errors import ConfigError

OLD = {"name": "observation_old", "fallback": "last", "max_age_periods": 2.0}


def refusal(**changes):
    with pytest.raises(ConfigError) as refused:
        make_runtime(guards=[OLD | changes])
    return str(refused.value)


def test_a_listed_guard_is_of_its_class():
    (guard,) = make_runtime(guards=[OLD]).guards
    assert type(guard) is find_guard("observation_old")
    assert make_runtime(guards=[OLD]).as_tree()["guards"] == [OLD]


@pytest.mark.parametrize(
    "name",
    [
        "observation_age",
        "",
        "os:system",
        "sacpipe.robot.guards.shape:Shape",
        WATCHDOG,
        "x" * 500,
    ],
)
def test_a_name_that_is_not_registered_is_refused_by_its_name(name):
    said = refusal(name=name)
    assert f"no guard '{name[:64]}' is installed here. Install the package that has it, and enable it" in said


@pytest.mark.parametrize("entry", [{}, {"name": 3}, {"name": None}, "shape", None, 3, ["shape"]])
def test_what_has_no_name_is_refused(entry):
    with pytest.raises(ConfigError, match="expected `name`, the registered name of a guard"):
        make_runtime(guards=[entry])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_age_periods": 0.0}, "max_age_periods: Input should be greater than 0"),
        ({"max_age_periods": 1e7}, "max_age_periods: Input should be less than or equal to 1000000"),
        ({"max_age_periods": "2"}, "max_age_periods: Input should be a valid number"),
        ({"fallback": "limit"}, "`limit` is not possible for observation_old"),
        ({"fallback": "wait"}, "fallback: Input should be"),
        ({"margin": 1.0}, "margin: Extra inputs are not permitted"),
    ],
)
def test_a_value_that_does_not_fit_is_named(changes, said):
    found = refusal(**changes)
    assert "guards.0: guard 'observation_old': " in found
    assert said in found


def test_a_misspelt_guard_is_refused_with_the_nearest():
    assert "The nearest here: observation_old" in refusal(name="observation_odl")
    assert "nearest" not in refusal(name="zzzz")


def test_a_guard_that_is_listed_twice_is_refused():
    with pytest.raises(ConfigError, match="expected each guard once, found 'observation_old' twice"):
        make_runtime(guards=[OLD, OLD])


def test_ours_are_all_there_and_nothing_more():
    for name in GUARDS.ours:
        assert find_guard(name).example().name == name


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(3)", "guard 'tilt': `tilt_guard:Tilt` cannot be imported: SystemExit: 3"),
        ("Tilt = 3", "guard 'tilt': expected the class of its section, .*Config, not 3"),
    ],
)
def test_a_package_that_registers_something_else_is_named(tmp_path, monkeypatch, code, said):
    install_guard(tmp_path, monkeypatch, code)
    with pytest.raises(ValueError, match=said):
        parse_guard({"name": "tilt", "fallback": "stop"})


def test_too_many_are_refused_before_the_first_is_looked_up(monkeypatch):
    """A contract of 1 MB has room for 20,000, and the metadata of installed packages is read for each."""
    monkeypatch.setattr("sacpipe.bundle.guards.find_guard", lambda name: pytest.fail(f"looked up {name}"))
    with pytest.raises(ConfigError, match="guards: expected at most 100 guards, found 101"):
        make_runtime(guards=[OLD | {"name": f"guard_{n}"} for n in range(101)])
