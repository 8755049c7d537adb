"""Every number and every text of a contract has a bound, so that no arithmetic of a robot overflows."""

import copy
import json

import pytest
from bundle_factories import make_contract
from robot_fixtures import SPEC, make_model

from sacpipe.bundle.canonical_json import parse_canonical
from sacpipe.bundle.contract import Contract
from sacpipe.core.errors import BundleError

POLICY = make_model().SerializeToString(deterministic=True)
TREE = make_contract(
    POLICY,
    SPEC.replace(max_episode_steps=100),
    provenance={"algorithm": "sac", "digests": {"policy": "ab" * 32}},
).as_tree()
TREE["guards"]["safe_action"] = [0.0, 0.0]


def leaves(value, path=()):
    """Yield the path of every value that is no list and no mapping."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if items is None:
        yield path
        return
    for key, part in items:
        yield from leaves(part, (*path, key))


def get(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def changed(path, value):
    tree = copy.deepcopy(TREE)
    get(tree, path[:-1])[path[-1]] = value
    return tree


def parse(tree):
    text = (json.dumps(tree, sort_keys=True, indent=2) + "\n").encode()
    return parse_canonical(Contract, text, "contract.json")


NUMBERS = [
    path for path in leaves(TREE) if isinstance(get(TREE, path), int | float) and path != ("format_version",)
]
TEXTS = [path for path in leaves(TREE) if isinstance(get(TREE, path), str)]


def name_of(path):
    return ".".join(map(str, path))


def test_the_tree_itself_is_a_contract():
    parse(TREE)
    assert len(NUMBERS) > 30
    assert len(TEXTS) > 20


@pytest.mark.parametrize("path", NUMBERS, ids=name_of)
@pytest.mark.parametrize("value", [1e308, -1e308, 1e39, 10**30, -(10**30)])
def test_a_number_far_out_is_refused_by_name(path, value):
    with pytest.raises(BundleError, match="contract.json: "):
        parse(changed(path, value))


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
@pytest.mark.parametrize("value", ["a" * 501, "\x1b[2J", "two\nlines", "\u2028", "\u202e", "\x00"])
def test_a_text_that_is_long_or_not_printable_is_refused(path, value):
    with pytest.raises(BundleError, match="contract.json: "):
        parse(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "control_period_s"), 1e-10),  # less than a nanosecond: 0 in the loop's arithmetic
        (("spec", "control_period_s"), 5e-324),
        (("spec", "action", 0, "high"), -2.0 + 1e-9),  # the same float32 as `low`: its range is 0
        (("golden", "tolerance"), 1.5),
        (("golden", "num_steps"), 10_001),
        (("guards", "max_age_periods"), 1e7),
        (("envelope", "high", 0), 3.5e38),
    ],
)
def test_values_just_beyond_are_refused(path, value):
    with pytest.raises(BundleError, match="contract.json: "):
        parse(changed(path, value))


@pytest.mark.parametrize("kind", ["observation", "action"])
def test_two_terms_of_one_name_are_refused(kind):
    tree = changed(("spec", kind, 0, "name"), TREE["spec"][kind][1]["name"])
    with pytest.raises(BundleError, match=f"spec: .*{kind}: expected each name once"):
        parse(tree)


@pytest.mark.parametrize("value", ["\x1b]0;owned\x07", "a\nsacpipe: all is well", "\u202e"])
def test_a_message_quotes_no_control_character(value):
    for tree in (changed(("spec", "task"), value), TREE | {value: 1}):
        with pytest.raises(BundleError) as error:
            parse(tree)
        assert str(error.value).isprintable()


def test_many_small_terms_are_bounded_together():
    term = TREE["spec"]["observation"][0]
    tree = changed(("spec", "observation"), [term | {"name": f"t{n}", "size": 10**6} for n in range(2)])
    with pytest.raises(BundleError, match="expected at most 1000000 entries in all, found 2000000"):
        parse(tree)
    tree = changed(("spec", "observation"), [term | {"size": 1}] * 10_001)
    with pytest.raises(BundleError, match=r"spec.observation: Tuple should have at most 10000 items"):
        parse(tree)
