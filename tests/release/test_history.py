"""What a history of joined branches says."""

import pytest

from sacpipe.release.history import History
from sacpipe.release.record import FORMAT_VERSION, Kind, Record, Release
from sacpipe.release.world import Actor

BUNDLE = "ab" * 32


def record(kind: Kind, number: int, *parents: Record) -> Record:
    """Return a record of one bundle, after others."""
    return Record(
        format_version=FORMAT_VERSION,
        number=number,
        parents=tuple(parent.sha256 for parent in parents),
        kind=kind,
        action="promote" if kind == "allowed" else "rollback",
        time=f"2026-11-27T00:00:{number:02}Z",
        actor=Actor(name="Operator", email="operator@localhost"),
        model="Push",
        before=None,
        to=None if kind == "resolved" else Release(version=1, bundle=BUNDLE),
        reason=f"{kind} {number}",
        verdict=None,
        commit=None,
        entries={},
    )


def bar(*records: Record) -> str | None:
    """Return the reason of the bar of the bundle, or None."""
    ordered = sorted(records, key=lambda one: (one.number, one.sha256))
    found = History("Push", {one.sha256: one for one in ordered}).barred.get(BUNDLE)
    return None if found is None else found.reason


def test_a_lifted_bar_is_lifted_and_a_newer_one_is_not():
    first = record("barred", 1)
    lifted = record("allowed", 2, first)
    assert bar(first) == "barred 1"
    assert bar(first, lifted) is None
    assert bar(first, lifted, record("barred", 3, lifted)) == "barred 3"


@pytest.mark.parametrize("later", [False, True])
def test_one_branch_lifts_no_bar_of_the_other(later):
    """An operator who promoted again knew the bar of his own branch alone, whichever number the other's has."""
    first = record("barred", 1)
    between = record("refused", 2, first)
    lifted = record("allowed", 3 if later else 2, between if later else first)
    other = record("barred", 2 if later else 3, first if later else between)
    ours = [first, between, lifted, other]
    assert bar(*ours, record("resolved", 4, lifted, other)) == other.reason
    joined = record("resolved", 4, lifted, other)
    assert bar(*ours, joined, record("allowed", 5, joined)) is None
