"""Contracts that set their own bar, and signatures that are none.

Kind: what forges it in a good bundle's folder, and the rules that may refuse it. The numbers are finite and of
the right type: only a bound of the operator or of the format refuses them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forged_bundles import change_contract

from sacpipe.bundle.signature import make_key, sign_bundle

Forgery = Callable[[Path], None]
_BAR = frozenset({"contract", "golden", "timing", "guards", "terms", "settings", "runtime"})
"""A bound of the format is checked by `contract`, an operator's by a rule of its own."""
_SIGNATURE = frozenset({"signature"})


def _section(section: str, **changes: Any) -> Forgery:
    return lambda folder: change_contract(folder, lambda tree: tree[section].update(changes))


def _spec(change: Callable[[dict[str, Any]], object]) -> Forgery:
    return lambda folder: change_contract(folder, lambda tree: change(tree["spec"]))


def _all_guards_off(tree: dict[str, Any]) -> None:
    guards = tree["guards"]
    guards.update(
        max_age_periods=1e9,
        max_future_periods=1e9,
        deadline_periods=1e9,
        max_action_change=1.0,
        envelope_margin=1e9,
        max_last_steps=10**9,
        fallbacks=dict.fromkeys(guards["fallbacks"], "hold"),
    )


CONTRACTS: dict[str, tuple[Forgery, frozenset[str]]] = {
    "golden tolerance of the whole range": (_section("golden", tolerance=1.0), _BAR),
    "golden tolerance beyond any range": (_section("golden", tolerance=1e300), _BAR),
    "parity tolerance of the whole range": (_section("parity", tolerance=1.0, max_error=0.9), _BAR),
    "parity error of arbitrary observations": (_section("parity", synthetic_max_error=1e300), _BAR),
    "deadline without end": (_section("guards", deadline_periods=1e9), _BAR),
    "age that overflows": (_section("guards", max_age_periods=1e308), _BAR),
    "age without end": (_section("guards", max_age_periods=1e9), _BAR),
    "future that overflows": (_section("guards", max_future_periods=1e308), _BAR),
    "deadline that overflows": (_section("guards", deadline_periods=1e308), _BAR),
    "deadline of nothing": (_section("guards", deadline_periods=5e-324), _BAR),
    "margin that overflows": (_section("guards", envelope_margin=1e308), _BAR),
    "envelope that overflows": (_section("envelope", low=[-1e308] * 3, high=[1e308] * 3), _BAR),
    "envelope of everything": (_section("envelope", low=[-1e30] * 3, high=[1e30] * 3), _BAR),
    "repeats without end": (_section("guards", max_last_steps=2**62), _BAR),
    "blend without end": (_section("guards", blend_steps=2**62), _BAR),
    "all guards off": (lambda folder: change_contract(folder, _all_guards_off), _BAR),
    "control period that overflows": (_spec(lambda spec: spec.update(control_period_s=1e300)), _BAR),
    "control period of nothing": (_spec(lambda spec: spec.update(control_period_s=5e-324)), _BAR),
    "action range that overflows": (
        _spec(lambda spec: spec["action"][0].update(low=-1.7e308, high=1.7e308)),
        _BAR,
    ),
    "action range beyond float32": (_spec(lambda spec: spec["action"][0].update(low=-1e39, high=1e39)), _BAR),
    "action range of nothing": (_spec(lambda spec: spec["action"][0].update(low=3.0, high=3.0)), _BAR),
    "bounds the wrong way round": (_spec(lambda spec: spec["action"][0].update(low=3.0, high=-2.0)), _BAR),
    "observation of a gigabyte": (
        _spec(lambda spec: spec["observation"][0].update(size=2**28)),
        _BAR | {"tensors"},
    ),
    "observation of no entry": (_spec(lambda spec: spec["observation"][0].update(size=0)), _BAR),
    "terms of one name": (_spec(lambda spec: spec["observation"][0].update(name="velocity")), _BAR),
    "term with an escape sequence": (
        _spec(lambda spec: spec["action"][0].update(name="\x1b]0;owned\x07")),
        _BAR,
    ),
    "task of a megabyte": (_spec(lambda spec: spec.update(task="x" * 900_000)), _BAR),
    "task with a line end": (_spec(lambda spec: spec.update(task="arm\nsacpipe: all is well")), _BAR),
    "episode without end": (_spec(lambda spec: spec.update(max_episode_steps=2**70)), _BAR),
    "golden sequence of no step": (_section("golden", num_steps=0), _BAR),
    "golden sequence of a billion steps": (_section("golden", num_steps=10**9), _BAR),
    "unknown guard": (_section("guards", turbo=True), _BAR),
    "unknown fallback": (
        lambda folder: change_contract(
            folder, lambda tree: tree["guards"]["fallbacks"].update(action_not_finite="ignore")
        ),
        _BAR,
    ),
    "safe action out of bounds": (_section("guards", safe_action=[1e6, 0.0]), _BAR),
    "safe action of another size": (_section("guards", safe_action=[0.0]), _BAR),
    "other operators than the graph's": (_section("onnx", operators=["MatMul"]), frozenset({"graph"})),
    "operator set of another graph": (_section("onnx", opset_version=19), frozenset({"graph"})),
    "format of the future": (
        lambda folder: change_contract(folder, lambda tree: tree.update(format_version=3)),
        _BAR,
    ),
    "number as text": (_section("golden", tolerance="1e-5"), _BAR),
    "true as number": (_section("golden", tolerance=True), _BAR),
    "NaN as number": (_section("golden", tolerance=float("nan")), _BAR),
    "infinity as number": (_section("guards", max_age_periods=float("inf")), _BAR),
    "whole number of thousands of digits": (_section("guards", max_last_steps=10**4000), _BAR),
    "digest that is none": (_section("provenance", digests={"policy": "../../etc"}), _BAR),
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
