"""Contracts that set their own bar, and signatures that are none.

Kind: what forges it in a good bundle's folder, and the rules that may refuse it. Most numbers are finite and of
the right type: only a bound of the operator or of the format refuses them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forged_bundles import change_contract

from sacpipe.bundle.canonical_json import FORMAT_VERSION
from sacpipe.bundle.guards import GUARDS, find_guard
from sacpipe.bundle.signature import make_key, sign_bundle

Forgery = Callable[[Path], None]
Tree = dict[str, Any]
_BAR = frozenset({"contract", "golden", "timing", "guards", "terms", "settings", "runtime"})
"""A bound of the format is checked by `contract`, an operator's by a rule of its own."""
_CONTRACT, _SIGNATURE = frozenset({"contract"}), frozenset({"signature"})
IMPORT_PATHS = ("os:system", "sacpipe.robot.guards.shape:Shape", "../os", "os.system", "os")
"""Names that would be code if a reader imported them. The last two have the form of a registered name."""


def _contract(change: Callable[[Tree], object]) -> Forgery:
    return lambda folder: change_contract(folder, change)


def _section(section: str, **changes: Any) -> Forgery:
    return _contract(lambda tree: tree[section].update(changes))


def _spec(change: Callable[[Tree], object]) -> Forgery:
    return _contract(lambda tree: change(tree["spec"]))


def _term(**changes: Any) -> Forgery:
    """Change the first observation term, and the input of the network with it."""

    def change(tree: Tree) -> None:
        tree["spec"]["observation"][0].update(changes)
        known = {key: value for key, value in changes.items() if key in ("name", "dtype", "shape")}
        tree["onnx"]["inputs"][0].update(known)

    return _contract(change)


def _onnx(change: Callable[[Tree], object]) -> Forgery:
    return _contract(lambda tree: change(tree["onnx"]))


def _guard(name: str, **changes: Any) -> Forgery:
    """List one guard: its own example, changed."""
    guard = find_guard(name).example().as_tree() if name in GUARDS else {"name": name, "fallback": "safe"}
    return _guards([guard | changes])


def _guards(guards: list[Any]) -> Forgery:
    return _contract(lambda tree: tree["runtime"].update(guards=guards))


def _all_guards_off(tree: Tree) -> None:
    """Every guard of the product as loose as its model allows, and with the loosest fallback."""
    loose = {"max_age_periods": 1e6, "max_future_periods": 1e6, "deadline_periods": 1e6, "margin": 1e6}
    loose |= {"max_change": 1.0, "max_repeats": 10**6}
    guards = []
    for name in GUARDS.ours:
        guard = find_guard(name).default()
        if guard is not None:
            known = {key: value for key, value in loose.items() if key in type(guard).model_fields}
            guards.append(guard.as_tree() | known | {"fallback": "hold"})
    tree["runtime"].update(guards=guards, max_last_steps=10**6)


def set_value(place: str, value: Any) -> Callable[[Tree], None]:
    """Return a change of the value at a place such as `spec.action.0.name`."""

    def change(tree: Any) -> None:
        *path, last = place.split(".")
        for key in path:
            tree = tree[int(key) if key.isdigit() else key]
        tree[int(last) if last.isdigit() else last] = value

    return change


MEMBER_NAMES = {
    "provenance.algorithm": IMPORT_PATHS[:3],
    "spec.task": IMPORT_PATHS[:2],
    "runtime.guards.0.name": IMPORT_PATHS,
}
"""Places of a contract whose value is the name of a member or a task, and names that are refused there."""


def _forged_name(place: str, name: str) -> Forgery:
    def change(tree: Tree) -> None:
        tree["runtime"]["guards"] = [find_guard("shape").example().as_tree()]
        set_value(place, name)(tree)

    return _contract(change)


CONTRACTS: dict[str, tuple[Forgery, frozenset[str]]] = {
    "golden tolerance of the whole range": (_section("golden", tolerance=1.0), _BAR),
    "golden tolerance beyond any range": (_section("golden", tolerance=1e300), _BAR),
    "deadline without end": (_guard("deadline_missed", deadline_periods=1e9), _BAR),
    "deadline that overflows": (_guard("deadline_missed", deadline_periods=1e308), _BAR),
    "deadline of nothing": (_guard("deadline_missed", deadline_periods=5e-324), _BAR),
    "age that overflows": (_guard("observation_old", max_age_periods=1e308), _BAR),
    "age without end": (_guard("observation_old", max_age_periods=1e9), _BAR),
    "age of one term without end": (_section("runtime", term_max_age_periods={"position": 1e5}), _BAR),
    "age of a term that is none": (_section("runtime", term_max_age_periods={"other": 1.0}), _BAR),
    "future that overflows": (_guard("observation_from_future", max_future_periods=1e308), _BAR),
    "margin that overflows": (_guard("start_outside_envelope", margin=1e308), _BAR),
    "margin of every step that overflows": (_guard("outside_envelope", margin=1e308), _BAR),
    "envelope that overflows": (
        _section("envelope", low={"position": [-1e308] * 2, "velocity": [-1e308]}),
        _BAR,
    ),
    "envelope of everything": (
        _section(
            "envelope",
            low={"position": [-1e30] * 2, "velocity": [-1e30]},
            high={"position": [1e30] * 2, "velocity": [1e30]},
        ),
        _BAR,
    ),
    "envelope of a term that is none": (_contract(set_value("envelope.low.other", [0.0])), _BAR),
    "envelope of another size": (_contract(set_value("envelope.low.position", [0.0])), _BAR),
    "envelope that is frozen permanently": (
        _contract(set_value("envelope.longest_constant.position", 2**62)),
        _BAR,
    ),
    "repeats without end": (_section("runtime", max_last_steps=2**62), _BAR),
    "blend without end": (_section("runtime", blend_steps=2**62), _BAR),
    "ramp without end": (_section("runtime", ramp_steps=2**62), _BAR),
    "watchdog that never bites": (_section("runtime", watchdog_periods=1e300), _BAR),
    "stop category that is none": (_section("runtime", stop_category=3), _BAR),
    "all guards off": (_contract(_all_guards_off), _BAR),
    "guard twice": (
        _guards([find_guard("shape").example().as_tree()] * 2),
        _BAR,
    ),
    "guard that is not installed": (_guard("turbo"), _BAR),
    "guard without a name": (_guards([{"fallback": "safe"}]), _BAR),
    "guard that is a text": (_guards(["shape"]), _BAR),
    "guard with an unknown key": (_guard("shape", turbo=True), _BAR),
    "hundred thousand guards": (_guards([{"name": f"guard_{n}"} for n in range(10_000)]), _BAR),
    "guards that are nested deep": (_guards([{"name": {"name": {"name": "shape"}}}]), _BAR),
    "fallback that is none": (_guard("action_not_finite", fallback="ignore"), _BAR),
    "fallback `limit` of a guard that has no limit": (_guard("action_not_finite", fallback="limit"), _BAR),
    "fallback `hold` of the last resort": (_guard("inference_failed", fallback="hold"), _BAR),
    "control period that overflows": (_spec(lambda spec: spec.update(control_period_s=1e300)), _BAR),
    "control period of nothing": (_spec(lambda spec: spec.update(control_period_s=5e-324)), _BAR),
    "action range that overflows": (
        _spec(lambda spec: spec["action"][0].update(low=-1.7e308, high=1.7e308)),
        _BAR,
    ),
    "action range beyond float32": (_spec(lambda spec: spec["action"][0].update(low=-1e39, high=1e39)), _BAR),
    "action range of nothing": (_spec(lambda spec: spec["action"][0].update(low=3.0, high=3.0)), _BAR),
    "bounds the wrong way round": (_spec(lambda spec: spec["action"][0].update(low=3.0, high=-2.0)), _BAR),
    "term of a gigabyte": (_term(shape=[2**28]), _BAR | {"tensors"}),
    "term of many small axes": (_term(shape=[1000] * 6), _BAR),
    "term of more axes than allowed": (_term(shape=[1] * 7), _BAR),
    "term of no entry": (_term(shape=[0]), _BAR),
    "term of a negative size": (_term(shape=[-2]), _BAR),
    "term whose size is a text": (_term(shape=["batch"]), _BAR),
    "term of double precision": (_term(dtype="float64"), _BAR),
    "term of objects": (_term(dtype="object"), _BAR),
    "image of one axis": (_term(dtype="uint8"), _BAR),
    "image where the network has numbers": (_term(dtype="uint8", shape=[2, 1, 1]), _BAR | {"graph"}),
    "terms of one name": (_term(name="velocity"), _BAR),
    "term without a name": (_term(name=""), _BAR),
    "term with the name of the output": (_term(name="action"), _BAR),
    "term with the name of the noise": (_term(name="noise"), _BAR),
    "term with an escape sequence": (_term(name="\x1b]0;owned\x07"), _BAR),
    "term of half a kilobyte": (_term(name="x" * 501), _BAR),
    "term that only critics see": (_term(groups=["critic"]), _BAR),
    "term of a group that is none": (_term(groups=["policy", "root"]), _BAR),
    "term of one group twice": (_term(groups=["policy", "policy"]), _BAR),
    "no term": (
        _contract(lambda tree: (tree["spec"].update(observation=[]), tree["onnx"].update(inputs=[]))),
        _BAR,
    ),
    "more terms than allowed": (
        _spec(
            lambda spec: spec.update(
                observation=[spec["observation"][0] | {"name": str(n)} for n in range(10_001)]
            )
        ),
        _BAR | {"size", "files"},
    ),
    "action with an escape sequence": (
        _spec(lambda spec: spec["action"][0].update(name="\x1b]0;owned\x07")),
        _BAR,
    ),
    "input missing": (_onnx(lambda onnx: onnx["inputs"].pop()), _BAR),
    "input twice": (_onnx(lambda onnx: onnx["inputs"].append(onnx["inputs"][0])), _BAR),
    "inputs in another order": (_onnx(lambda onnx: onnx["inputs"].reverse()), _BAR),
    "input of another name": (_onnx(set_value("inputs.0.name", "other")), _BAR),
    "input of another type": (_onnx(set_value("inputs.0.dtype", "uint8")), _BAR),
    "input of a type that is none": (_onnx(set_value("inputs.0.dtype", "int64")), _BAR),
    "input of another shape": (_onnx(set_value("inputs.0.shape", [2, 1])), _BAR),
    "output of another size": (_onnx(set_value("output.shape", [3])), _BAR),
    "output of another name": (_onnx(set_value("output.name", "command")), _BAR),
    "noise that the network does not take": (
        _onnx(set_value("noise", {"name": "noise", "dim": 2})),
        _BAR | {"graph", "tensors"},
    ),
    "noise of another name": (_onnx(set_value("noise", {"name": "position", "dim": 2})), _BAR),
    "noise of a gigabyte": (_onnx(set_value("noise", {"name": "noise", "dim": 2**28})), _BAR),
    "noise of no number": (_onnx(set_value("noise", {"name": "noise", "dim": 0})), _BAR),
    "no word about noise": (_onnx(lambda onnx: onnx.pop("noise")), _BAR),
    "task of a megabyte": (_spec(lambda spec: spec.update(task="x" * 900_000)), _BAR),
    "task with a line end": (_spec(lambda spec: spec.update(task="arm\nsacpipe: all is well")), _BAR),
    "episode without end": (_spec(lambda spec: spec.update(max_episode_steps=2**70)), _BAR),
    "golden sequence of no step": (_section("golden", num_steps=0), _BAR),
    "golden sequence of a billion steps": (_section("golden", num_steps=10**9), _BAR),
    "unknown section": (_contract(lambda tree: tree.update(parity={"tolerance": 1.0})), _CONTRACT),
    "unknown setting of the runtime": (_section("runtime", turbo=True), _BAR),
    "safe action out of bounds": (_section("runtime", safe_action=[1e6, 0.0]), _BAR),
    "safe action of another size": (_section("runtime", safe_action=[0.0]), _BAR),
    "other operators than the graph's": (_section("onnx", operators=["MatMul"]), frozenset({"graph"})),
    "operator set of another graph": (_section("onnx", opset_version=19), frozenset({"graph"})),
    "format of the past": (_contract(lambda tree: tree.update(format_version=FORMAT_VERSION - 1)), _BAR),
    "format of the future": (_contract(lambda tree: tree.update(format_version=FORMAT_VERSION + 1)), _BAR),
    "number as text": (_section("golden", tolerance="1e-5"), _BAR),
    "true as number": (_section("golden", tolerance=True), _BAR),
    "NaN as number": (_section("golden", tolerance=float("nan")), _BAR),
    "infinity as number": (_guard("observation_old", max_age_periods=float("inf")), _BAR),
    "whole number of thousands of digits": (_section("runtime", max_last_steps=10**4000), _BAR),
    "digest that is none": (_section("provenance", digests={"policy": "../../etc"}), _BAR),
    **{
        f"import path {name!r} in {place}": (_forged_name(place, name), _CONTRACT | {"terms"})
        for place, names in MEMBER_NAMES.items()
        for name in names
    },
}


def _stripped(folder: Path) -> None:
    """No signature, where the operator trusts a key and did not say that one is required."""
    make_key(folder.parent / "key")


def _foreign(folder: Path) -> None:
    make_key(folder.parent / "key")
    make_key(folder.parent / "foreign")
    sign_bundle(folder, folder.parent / "foreign")


def _replayed(folder: Path) -> None:
    """The signature of an earlier bundle."""
    make_key(folder.parent / "key")
    sign_bundle(folder, folder.parent / "key")
    change_contract(folder, lambda tree: tree["provenance"].update(algorithm="other"))


def _signed_and(change: Callable[[dict[str, Any]], bytes]) -> Forgery:
    def forge(folder: Path) -> None:
        make_key(folder.parent / "key")
        sign_bundle(folder, folder.parent / "key")
        tree = json.loads((folder / "manifest.sig").read_bytes())
        (folder / "manifest.sig").write_bytes(change(tree))

    return forge


def _line(tree: dict[str, Any]) -> bytes:
    return (json.dumps(tree, sort_keys=True, separators=(",", ":")) + "\n").encode()


def _malleable(tree: dict[str, Any]) -> bytes:
    """The same signature with the group's order added to its scalar: other bytes that some libraries accept."""
    order = 2**252 + 27742317777372353535851937790883648493
    raw = bytes.fromhex(tree["signature"])
    scalar = int.from_bytes(raw[32:], "little") + order
    return _line(tree | {"signature": (raw[:32] + scalar.to_bytes(32, "little")).hex()})


SIGNATURES: dict[str, tuple[Forgery, frozenset[str]]] = {
    "stripped": (_stripped, _SIGNATURE),
    "of a foreign key": (_foreign, _SIGNATURE),
    "of an earlier bundle": (_replayed, _SIGNATURE),
    "of a foreign key under the trusted key's id": (
        _signed_and(lambda tree: _line(tree | {"signature": "ab" * 64})),
        _SIGNATURE,
    ),
    "with another scalar": (_signed_and(_malleable), _SIGNATURE),
    "of zeros": (_signed_and(lambda tree: _line(tree | {"signature": "00" * 64})), _SIGNATURE),
    "in capitals": (
        _signed_and(lambda tree: _line(tree | {"signature": tree["signature"].upper()})),
        _SIGNATURE,
    ),
    "in another form": (_signed_and(lambda tree: json.dumps(tree).encode()), _SIGNATURE),
    "with another key besides": (_signed_and(lambda tree: _line(tree | {"also": "x"})), _SIGNATURE),
    "of another version": (_signed_and(lambda tree: _line(tree | {"format_version": 2})), _SIGNATURE),
    "empty": (_signed_and(lambda tree: b""), _SIGNATURE),
    "of bytes that are no JSON": (_signed_and(lambda tree: b"\xff" * 200), _SIGNATURE),
}
