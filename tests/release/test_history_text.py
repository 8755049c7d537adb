"""The history as an operator reads it: one line for each release."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from release_project import IDENTITY, MODEL, ReleaseProject

from sacpipe.core.errors import StoreError
from sacpipe.release.history_text import history_text
from sacpipe.release.releases import Releases, Target
from sacpipe.tracking.registry import Registry, VersionRecord


class StoppedClock:
    """A clock that shows one time."""

    def now(self) -> datetime:
        """Return it."""
        return datetime(2026, 11, 27, 3, 4, 5, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        """Return at once."""


@pytest.mark.slow
def test_a_promotion_a_failure_and_a_rollback_are_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest first, with who and why, the numbers of the records, and what is barred."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    project = ReleaseProject(tmp_path / "project", tmp_path / "tracking")
    first, second, third = (project.register(gain) for gain in (0.5, 0.25, 0.125))

    def releases(**changes: object) -> Releases:
        return project.releases(clock=StoppedClock(), **changes)

    assert history_text(releases().history()) == f"{MODEL}: there is no champion\n"
    releases().promote(Target(first), reason="the first")
    releases().promote(Target(second), reason="better on slopes")
    releases().rollback(None, reason="it trembles")
    proofs: list[int] = []

    def fails_after_the_move(_registry: Registry, version: VersionRecord) -> None:
        proofs.append(version.version)
        if len(proofs) == 2:
            raise StoreError("the bytes changed")

    with pytest.raises(StoreError):
        releases(prove=fails_after_the_move).promote(Target(third), reason="best")
    one, two = (f"version {v.version} (bundle {v.bundle_digest[:12]})" for v in (first, second))
    who = "Operator <operator@example.org>"
    time = "2026-11-27T03:04:05+00:00"
    width = len(f"rolled back to {one}, after version 2")
    events = (
        (f"promotion undone, stays {one}", "the bytes changed", "11-13"),
        (f"barred {two}", "it trembles", "10"),
        (f"rolled back to {one}, after version 2", "it trembles", "7-9"),
        (f"promoted {two}, after version 1", "better on slopes", "4-6"),
        (f"promoted {one}", "the first", "1-3"),
    )
    assert history_text(releases().history()).splitlines() == [
        f"{MODEL}: champion is {one}, since {time}",
        "",
        f"  {'time (UTC)':<{len(time)}}  {'what':<{width}}  {'who':<{len(who)}}  why  [records]",
        *(f"  {time}  {what:<{width}}  {who}  {reason}  [{numbers}]" for what, reason, numbers in events),
        "",
        f"barred: {two}, rolled back at {time} by {who}: it trembles. "
        '`sacpipe promote 2 --again --reason "WHY"` promotes it anyway.',
    ]


@pytest.mark.slow
def test_a_champion_is_one_since_its_promotion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias that was moved by hand and restored, and an undone promotion, are no new beginning."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    project = ReleaseProject(tmp_path / "project", tmp_path / "tracking")
    clock = StoppedClock()
    first, second = project.register(0.5), project.register(0.25)
    project.releases(clock=clock).promote(Target(first), reason="the first")
    project.tracker.registry.set_alias(MODEL, "champion", second.version)
    project.releases().restore("an unknown hand")
    history = project.releases().history()
    assert [record.kind for record in history.records.values()][-1] == "proven"
    assert next(iter(history_text(history).splitlines())).endswith(", since 2026-11-27T03:04:05+00:00")
    project.promote(second)
    project.releases().rollback(None, reason="it trembles")
    assert "since 2026-11-27T03:04:05+00:00" not in history_text(project.releases().history()).splitlines()[0]
