"""The rules of params.yaml against those that judged, in words."""

import pytest

from sacpipe.release.config import ReleaseConfig
from sacpipe.release.rule_changes import rule_changes

FLOOR = {"name": "floor", "min_return_mean": 10.0, "episodes": 20}
PARITY, LINEAGE = {"name": "parity"}, {"name": "lineage"}


def section(*rules, **changes):
    keys = {"model_name": "pole", "mode": "enforce", "auto": False, "rules": list(rules)}
    return ReleaseConfig.parse(keys | changes)


@pytest.mark.parametrize(
    ("working", "words"),
    [
        (section(FLOOR, PARITY), ""),
        (section(FLOOR | {"min_return_mean": 20.0}, PARITY), "floor.min_return_mean 20 instead of 10"),
        (section(FLOOR | {"min_return_mean": None}, PARITY), "floor.min_return_mean null instead of 10"),
        (section(PARITY), "without rule floor"),
        (section(FLOOR, PARITY, LINEAGE), "with rule lineage"),
        (section(FLOOR, PARITY, mode="off"), 'mode "off" instead of "enforce"'),
        (
            section(FLOOR | {"min_return_mean": 20.0, "episodes": 5}, LINEAGE, auto=True),
            "auto true instead of false, floor.min_return_mean 20 instead of 10, floor.episodes 5 instead of "
            "20, 2 more",
        ),
    ],
)
def test_the_working_section_against_the_one_that_judged(working, words):
    assert rule_changes(section(FLOOR, PARITY), working) == words


def test_the_order_of_rules_changes_nothing():
    assert rule_changes(section(FLOOR, PARITY), section(PARITY, FLOOR)) == ""
