"""The release section: modes, tagged rules, a rule of a project's own, and the key that it had before."""

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.release.config import ReleaseConfig, read_model_name
from sacpipe.release.rules.rule import RETURN, RULES, SHARE, in_words
from sacpipe.release.rules.smoothness import Smoothness

SMOOTH = {"name": "smoothness", "episodes": 5, "max_change": 0.1}


def section(**changes):
    tree = {"model_name": "pole", "mode": "enforce", "auto": False, "rules": [SMOOTH]}
    return ReleaseConfig.parse({key: value for key, value in (tree | changes).items() if value is not ...})


def test_rules_are_members_by_name():
    assert section().rules == (Smoothness(name="smoothness", episodes=5, max_change=0.1),)
    assert ReleaseConfig.parse(section().as_tree()) == section()
    assert ReleaseConfig.model_validate(section().as_tree()) == section()


def test_a_rule_of_a_project_is_named_by_its_path():
    (rule,) = section(rules=[{"name": "test_release_config:Own", "limit": 3.0}]).rules
    assert rule.limit == 3.0


class Own(Smoothness):
    name: str
    episodes: int = 1
    max_change: float = 0.5
    limit: float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "maybe"}, "mode"),
        ({"auto": 1}, "auto"),
        ({"model_name": "a/b"}, "model_name"),
        ({"rules": [SMOOTH, SMOOTH]}, "rules: expected each rule once, found 'smoothness' twice"),
        ({"rules": [{"name": "smothness"}]}, "release rule 'smothness': expected one of smoothness, "),
        ({"rules": [{"episodes": 1}]}, "expected one of floor, champion"),
        ({"rules": [SMOOTH | {"max_chang": 1}]}, "unknown key; expected one of max_change"),
        ({"rules": [{"name": "json:dumps"}]}, "a class, not"),
        ({"rules": [SMOOTH] * 101}, "at most 100"),
        ({"rules": ...}, "rules: missing"),
    ],
)
def test_a_wrong_value_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        section(**changes)


def test_the_key_of_the_older_section_gets_a_message_that_says_what_replaces_it():
    with pytest.raises(ConfigError, match=r"min_return_mean is a rule now.*name: floor, min_return_mean"):
        ReleaseConfig.parse({"model_name": "pole", "min_return_mean": 9300.0})


def test_a_class_that_is_no_rule_is_refused():
    with pytest.raises(ConfigError, match="expected a class, not"):
        section(rules=[{"name": "sacpipe.release.config:ReleaseConfig"}])


@pytest.mark.parametrize("name", RULES.ours)
def test_every_rule_of_ours_has_values_for_a_new_file(name):
    kind = RULES.find(name)
    assert kind.example().name == name
    assert "preset" in dir(kind)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (9359.8123, RETURN, "9,359.81"),
        (9300.0, RETURN, "9,300"),
        (-0.5, RETURN, "-0.5"),
        (0.00123, RETURN, "0.00123"),
        (0.0, RETURN, "0"),
        (0.1, SHARE, "10 %"),
        (0.000123456, SHARE, "0.01235 %"),
        (12.5, "N m", "12.5 N m"),
        (float("nan"), SHARE, "nan"),
    ],
)
def test_numbers_in_words(value, unit, text):
    assert in_words(value, unit) == text


def test_the_name_alone_is_read_from_a_file_with_other_errors(tmp_path):
    """A rollback needs nothing but the name: wrong sections and rules beside it are not read."""
    path = tmp_path / "params.yaml"
    path.write_text("train: {total_steps: 1}\nrelease: {model_name: pole, mode: maybe, rules: 7}\n")
    assert read_model_name(path) == "pole"
    for text, message in (
        ("release: {mode: enforce}", r"release\.model_name: missing"),
        ("release: {model_name: a b}", r"release\.model_name: .*found 'a b'"),
        ("release: 7", r"release\.model_name: missing"),
        ("seed: 1", r"release\.model_name: missing"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_model_name(path)
