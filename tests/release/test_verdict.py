"""The verdict as a value: words for people, tags for a registry, JSON for programs."""

import json

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.release.verdict import Finding, Verdict, verdict_of, verdict_tags

FLOOR = {
    "rule": "floor",
    "expected": "floor 9,300",
    "found": "mean return 9,359.81",
    "ok": True,
    "figure": 9359.81,
    "threshold": 9300.0,
    "unit": "return",
    "advice": "",
}
LINEAGE = {
    "rule": "lineage",
    "expected": "a complete lineage",
    "found": "version -> bundle",
    "ok": False,
    "figure": None,
    "threshold": None,
    "unit": "",
    "advice": "Run it again.",
}


def verdict(*findings, mode="enforce", **changes):
    refused = any(not finding["ok"] for finding in findings)
    tree = {
        "format_version": 1,
        "accepted": mode != "enforce" or not refused,
        "mode": mode,
        "model": "pole",
        "version": 3,
        "candidate": "a" * 64,
        "champion": None,
        "commit": None,
        "findings": list(findings),
        "episodes": 20,
        "time": "2026-01-01T00:00:00+00:00",
        "scores": {"candidate": [9359.81], "champion": []},
    }
    return verdict_of(tree | changes)


def test_a_figure_is_beside_its_threshold():
    assert Finding.parse(FLOOR).text() == "floor: mean return 9,359.81, floor 9,300"


def test_a_rule_without_a_figure_says_what_it_expected_only_where_it_refuses():
    assert Finding.parse(LINEAGE).text() == "lineage: version -> bundle, expected a complete lineage"
    assert Finding.parse(LINEAGE | {"ok": True}).text() == "lineage: version -> bundle"


@pytest.mark.parametrize(
    ("mode", "findings", "word", "why"),
    [
        (
            "enforce",
            [LINEAGE | {"ok": True}, FLOOR, FLOOR],
            "accepted",
            "floor: mean return 9,359.81, floor 9,300; all 3 rules hold",
        ),
        ("enforce", [FLOOR, LINEAGE], "refused", "lineage: version -> bundle, expected a complete lineage"),
        (
            "dry_run",
            [FLOOR, LINEAGE],
            "would be refused",
            "lineage: version -> bundle, expected a complete lineage",
        ),
        ("off", [], "not judged", "release.mode is off"),
        ("enforce", [], "accepted", "no rule is set"),
    ],
)
def test_word_and_reason(mode, findings, word, why):
    found = verdict(*findings, mode=mode)
    assert (found.word, found.why()) == (word, why)
    assert verdict_tags(found) == {"sacpipe.verdict": f"{word}: {why}"}


def test_the_text_has_every_rule_and_how_to_get_further():
    assert verdict(FLOOR, LINEAGE).text() == (
        "refused\n"
        "  ok       floor: mean return 9,359.81, floor 9,300\n"
        "  refused  lineage: version -> bundle, expected a complete lineage\n"
        "           Run it again.\n"
        "  judged   2026-01-01T00:00:00+00:00, 20 episodes\n"
    )
    assert verdict(mode="off").text() == "not judged: release.mode is off\n"


@pytest.mark.parametrize(
    ("commit", "changes", "line"),
    [
        (None, "", ""),
        ("c" * 40, "", "  rules    of commit cccccccccccc\n"),
        (
            "c" * 40,
            "with rule mass",
            "  rules    of commit cccccccccccc; those in params.yaml differ: with rule mass\n",
        ),
        (None, "with rule mass", "  rules    those in params.yaml differ: with rule mass\n"),
    ],
)
def test_the_text_says_whose_rules_judged(commit, changes, line):
    text = verdict(FLOOR, commit=commit).text(changes)
    assert text.partition(", 20 episodes\n")[2] == line


def test_a_tag_is_within_the_limit_of_registries():
    found = verdict(*(LINEAGE | {"found": "x" * 999} for _ in range(9)))
    (text,) = verdict_tags(found).values()
    assert len(text) == 5000
    assert text.endswith("...")


def test_json_keeps_it():
    found = verdict(FLOOR, LINEAGE, commit="c" * 40)
    assert verdict_of(json.loads(json.dumps(found.as_tree()))) == found


def test_another_format_is_refused():
    with pytest.raises(ConfigError, match="format_version"):
        verdict(FLOOR, format_version=2)


def test_a_figure_that_is_not_finite_cannot_be_one():
    with pytest.raises(ConfigError, match="figure"):
        Finding.parse(FLOOR | {"figure": float("nan")})
    assert isinstance(verdict(FLOOR), Verdict)
