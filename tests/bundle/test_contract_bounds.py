"""Every number and every text of a contract has a bound, so that no arithmetic of a robot overflows."""

import copy
import json

import pytest
from bundle_factories import make_contract, make_runtime
from robot_fixtures import SPEC, make_model

from sacpipe.bundle.canonical_json import parse_canonical
from sacpipe.bundle.contract import Contract, check_runtime
from sacpipe.core.errors import BundleError, ConfigError

POLICY = make_model().SerializeToString(deterministic=True)
TREE = make_contract(
    POLICY,
    SPEC.replace(max_episode_steps=100),
    provenance={"algorithm": "sac", "digests": {"policy": "ab" * 32}},
).as_tree()
TREE["runtime"] |= {
    "safe_action": [0.0, 0.0],
    "watchdog_periods": 5.0,
    "term_max_age_periods": {"velocity": 2.0},
}
TREE["onnx"]["noise"] = {"name": "noise", "dim": 2}


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
        (("runtime", "watchdog_periods"), 1e7),
        (("runtime", "stop_category"), 3),
        (("envelope", "high", "velocity", 0), 3.5e38),
        (("envelope", "longest_constant", "velocity"), 0),
        (("onnx", "noise", "dim"), 0),
        (("onnx", "noise", "dim"), 10_001),
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


@pytest.mark.slow
def test_many_small_terms_are_bounded_together():
    term = TREE["spec"]["observation"][0]
    tree = changed(("spec", "observation"), [term | {"name": f"t{n}", "shape": [10**6]} for n in range(2)])
    with pytest.raises(BundleError, match="expected at most 1000000 entries in all, found 2000000"):
        parse(tree)
    tree = changed(("spec", "observation"), [term | {"shape": [1]}] * 10_001)
    with pytest.raises(BundleError, match=r"spec.observation: Tuple should have at most 10000 items"):
        parse(tree)


def refused(path, value):
    with pytest.raises(BundleError) as error:
        parse(changed(path, value))
    return str(error.value)


@pytest.mark.parametrize("name", ["my_package.sac:SAC", "sac:SAC", "", "a b", "../sac", "-sac", "s\u00e4c"])
def test_the_algorithm_is_a_registered_name(name):
    assert "provenance.algorithm" in refused(("provenance", "algorithm"), name)


def test_the_task_has_no_module():
    found = refused(("spec", "task"), "gymnasium/my_robot.envs:Arm-v0")
    assert "spec.task: expected suite and id without a module" in found
    assert "found gymnasium/my_robot.envs:Arm-v0" in found


def test_the_terms_are_those_of_the_policy():
    found = refused(("spec", "observation", 1, "groups"), ["critic"])
    assert "expected terms of the group `policy` only, found 'velocity'" in found


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("onnx", "inputs", 0, "name"), "Position", "as input 0, found"),
        (("onnx", "inputs", 1, "shape"), [2], "as input 1, found"),
        (("onnx", "inputs", 1, "dtype"), "uint8", "as input 1, found"),
        (("onnx", "inputs"), TREE["onnx"]["inputs"][:1], "2 inputs, found 1"),
        (("onnx", "inputs"), TREE["onnx"]["inputs"][::-1], "as input 0, found"),
        (("onnx", "output", "shape"), [3], "onnx.output: expected shape [2], one number for each action term"),
        (("envelope", "low", "velocity"), [0.0, 0.0], "velocity"),
        (("envelope", "longest_constant"), {"velocity": 1}, "envelope.longest_constant: expected the terms"),
        (("runtime", "safe_action"), [0.0], "runtime.safe_action: expected 2 numbers"),
        (("runtime", "safe_action"), [0.0, 9.0], "runtime.safe_action: expected 2 numbers within"),
        (("runtime", "term_max_age_periods"), {"speed": 1.0}, "expected names among position, velocity, found 'sp"),
        (("onnx", "output", "name"), "actions", "onnx.output.name"),
        (("onnx", "noise", "name"), "z", "onnx.noise.name"),
    ],
)  # fmt: skip
def test_sections_that_do_not_fit_each_other_are_refused(path, value, fault):
    assert fault in refused(path, value)


def test_low_and_high_of_the_envelope_have_every_float32_term():
    tree = copy.deepcopy(TREE)
    for key in ("low", "high"):
        del tree["envelope"][key]["velocity"]
    with pytest.raises(BundleError, match="envelope.low: expected the sizes .*'velocity': 1.*, found"):
        parse(tree)


def test_the_section_of_params_is_checked_against_a_task():
    check_runtime(make_runtime(safe_action=[0.0, 1.0]), SPEC)
    with pytest.raises(ConfigError, match=r"params.yaml: runtime.safe_action: expected 2 numbers"):
        check_runtime(make_runtime(safe_action=[0.0]), SPEC)
