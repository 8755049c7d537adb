"""The contract test of a release rule: run `check_rule` on a rule before a release depends on it.

The gate calls a rule once for each candidate, so a rule must answer whatever the policies did, and must never
take a figure that is not finite for a good one.
"""

import json
import math
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from sacpipe.core.errors import ContractError
from sacpipe.release.evidence import Evidence
from sacpipe.release.rules.rule import Rule
from sacpipe.release.verdict import Finding
from sacpipe.testing.rule_evidence import GivenScored, given_evidence

_RETURNS = (10.0, 11.0, 12.0, 11.0)
_WORSE = tuple(value - 1000.0 for value in _RETURNS)
_MAX_TEXT = 1000


def check_rule(rule: type[Rule]) -> None:
    """Test the config of a rule's example, and the example on given evidence.

    Raises:
        ContractError: the rule breaks its contract. The message has what was expected and found.
    """
    example = rule.example()
    _check_config(example)
    for evidence in _evidences():
        _check_finding(example, _judged(example, evidence))
        _require(example, _judged(example, evidence) == _judged(example, evidence), "equal findings twice")
    _check_equal(example)
    for bad in (math.nan, math.inf, -math.inf):
        _check_not_finite(example, bad)


def _check_config(example: Rule) -> None:
    """The config is the same after it was written to JSON and read, and refuses unknown keys."""
    tree = example.as_tree()
    again = _read(example, tree)
    _require(example, again == example, f"a config that JSON keeps, found {again!s:.200}")
    found = _read(example, tree | {"no_such_key": 1})
    _require(example, isinstance(found, ValidationError), "an unknown key refused")


def _read(example: Rule, tree: dict[str, Any]) -> Rule | ValidationError:
    try:
        return type(example).model_validate_json(json.dumps(tree))
    except ValidationError as exc:
        return exc


def _evidences() -> list[Evidence]:
    single = given_evidence((1.0,))
    still = given_evidence(_RETURNS, _RETURNS)
    scored = GivenScored(_RETURNS, still.candidate.contract)
    return [
        given_evidence(),
        still,
        given_evidence(_WORSE, _RETURNS),
        given_evidence(_RETURNS, _WORSE),
        replace(single, parity=None, lineage_faults=("version -> bundle: expected a, found b",)),
        replace(single, candidate=replace(scored, has_model=False)),
        replace(single, candidate=replace(scored, amplitude=1.0, step_s=1.0)),
    ]


def _check_finding(example: Rule, finding: object) -> None:
    if not isinstance(finding, Finding):
        _require(example, False, f"a Finding of judge(), found {finding!r}")
        return
    _require(example, finding.rule == example.name, f"its own name in the finding, found '{finding.rule}'")
    for key in ("found", "expected", "advice"):
        text = getattr(finding, key)
        is_line = "\n" not in text and len(text) <= _MAX_TEXT
        _require(example, is_line, f"one line of at most {_MAX_TEXT} characters as `{key}`, found {text!r}")
    _require(example, bool(finding.found), "words in `found`")
    _require(example, finding.ok or bool(finding.advice), "advice with a refusal")


def _check_equal(example: Rule) -> None:
    """A candidate that does what the champion does is refused by no comparison."""
    alone = _judged(example, given_evidence(_RETURNS))
    beside = _judged(example, given_evidence(_RETURNS, _RETURNS))
    _require(example, beside.ok or not alone.ok, f"the champion's equal to hold, found {beside.text()}")


def _check_not_finite(example: Rule, bad: float) -> None:
    """A return that is not finite refuses, in a rule that reads returns."""
    for champion in (None, _RETURNS):
        good = _judged(example, given_evidence(_RETURNS, champion))
        found = _judged(example, given_evidence((*_RETURNS[:3], bad), champion))
        _check_finding(example, found)
        is_kept = found == good or not found.ok
        _require(example, is_kept, f"a refusal of a return that is {bad}, found {found.text()}")


def _judged(example: Rule, evidence: Evidence) -> Finding:
    try:
        return example.judge(evidence)
    except Exception as exc:
        raise ContractError(_message(example, f"judge to raise nothing, found {exc!r}")) from exc


def _require(example: Rule, is_kept: bool, expected: str) -> None:
    if not is_kept:
        raise ContractError(_message(example, expected))


def _message(example: Rule, expected: str) -> str:
    return f"release rule '{example.name}' breaks the contract of a rule: expected {expected}."
