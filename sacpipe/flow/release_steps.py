"""The steps of a run that release: settle, register a candidate, judge it, and promote it by release.auto.

A run never moves the champion's alias otherwise: `sacpipe promote` does.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, ReleaseError, StoreUnavailableError
from sacpipe.params.model import Params
from sacpipe.project.git import repository_fault
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import Workspace, release_lock
from sacpipe.release.bars import bar_of
from sacpipe.release.candidate import (
    CommittedCandidate,
    find_commit,
    present_entries,
    uncommitted_files,
)
from sacpipe.release.config import ReleaseParams
from sacpipe.release.gate import judge_version
from sacpipe.release.heal import heal
from sacpipe.release.log import CHAMPION
from sacpipe.release.model_card import model_card
from sacpipe.release.promotion import CANDIDATE, JudgedCandidate, judge_committed, promote_candidate
from sacpipe.release.real_world import open_world
from sacpipe.release.releases import Releases
from sacpipe.release.rule_changes import rule_changes
from sacpipe.release.verdict import Verdict, verdict_tags
from sacpipe.release.versions import write_version
from sacpipe.release.world import World
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.ledger import register_bundle
from sacpipe.tracking.registry import VersionRecord

_REASON = "release.auto of params.yaml"


class RegistryStatus(Config):
    """The version and alias of a bundle in the registry at the end of a run."""

    model_name: str
    version: int
    alias: str
    """`champion`; `candidate` while the version is not champion; empty where neither names it."""
    candidate: int | None
    """Number of the version that the alias `candidate` names."""
    previous: int | None
    """Number of the champion when the run ended its work, where it was another version."""
    why: str
    """Reasons of the verdict as one line."""
    commit: str | None
    """Commit that holds parameters, code and lock entries of the version; None where it is uncommitted."""
    uncommitted: str
    """Why no commit holds them, and the git commands that change it; empty where one does."""
    working_rules: str
    """How the rules of params.yaml differ from those that judged, in words; empty where they do not."""
    barred: str
    """When, by whom and why the bundle was rolled back; empty where it may be promoted."""

    @property
    def state(self) -> str:
        """`champion`, `barred`, `candidate`, or `registered` where no alias names it, in this order."""
        if self.alias == CHAMPION:
            return CHAMPION
        return "barred" if self.barred else self.alias or "registered"


P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class RegisteredVerdict:
    """A registered version and the verdict on it."""

    version: VersionRecord
    verdict: Verdict
    candidate: JudgedCandidate | None
    """The candidate for a promotion; None where the version is uncommitted."""
    uncommitted: str
    """Why no commit holds it, and the git commands that change it; empty where one does."""
    working_rules: str
    """How the rules of params.yaml differ from those that judged, in words; empty where they do not."""


def _releasing(step: Callable[Concatenate[Workspace, P], R]) -> Callable[Concatenate[Workspace, P], R]:
    """Return a step that waits for a release command in the same folder, and keeps others out meanwhile."""

    @functools.wraps(step)
    def locked(workspace: Workspace, /, *arguments: P.args, **options: P.kwargs) -> R:
        with release_lock(workspace, waits=True):
            return step(workspace, *arguments, **options)

    return locked


@_releasing
def settle(workspace: Workspace, params: Params) -> None:
    """Repair damage, finish or undo an interrupted release, and refuse where the alias was moved by hand.

    Without git there is no release. A registry that does not answer now may answer at the end of the run.

    Raises:
        ReleaseError: history and registry contradict each other, or this clone is behind.
        StoreError: the registry failed.
    """
    if repository_fault(workspace.root) is not None:
        return
    try:
        ledger, world, name = open_ledger(workspace), _world(workspace), params.release.model_name
        lines = heal(workspace, ledger, world, name) + Releases(world, name).settle()
    except StoreUnavailableError as exc:
        lines = [f"{exc} The run goes on; the next command looks again."]
    for line in lines:
        write_line(f"release: {line}")


@_releasing
def register(workspace: Workspace, params: Params) -> VersionRecord:
    """Register the bundle as the candidate, and write its file under release/.

    Raises:
        StoreError: the registry failed, or a stage is not recorded.
        BundleError: the bundle is damaged.
    """
    ledger, name = open_ledger(workspace), params.release.model_name
    version = register_bundle(workspace, ledger, name)
    world = _world(workspace)
    if not _bar(world, version):
        ledger.registry.set_alias(name, CANDIDATE, version.version)
    write_version(world, version, present_entries(workspace))
    return ledger.registry.version(name, version.version)


def judge(workspace: Workspace, version: VersionRecord) -> RegisteredVerdict:
    """Judge the candidate under the release section of its commit, and tell the registry the verdict.

    What the registry says of the present champion is the verdict of its promotion, and stays.

    Raises:
        ConfigError: a section of params.yaml is wrong.
        StoreError: the registry failed; BundleError where the bundle is damaged.
    """
    ledger, entries = open_ledger(workspace), present_entries(workspace)
    committed, uncommitted = _committed(workspace, version)
    candidate = None
    params = working = ReleaseParams.load_sections(workspace.params)
    changes = ""
    if committed is not None:
        params = committed.release_params
        changes = rule_changes(params.release, working.release)
        if changes:
            write_line(f"release: {other_rules(workspace, committed)}")
        try:
            candidate = judge_committed(workspace, ledger, version, entries, committed)
        except ReleaseError as exc:  # edited rules
            uncommitted = str(exc)
    verdict = candidate.verdict if candidate else judge_version(workspace, ledger, version, params)
    if CHAMPION not in version.aliases:
        ledger.registry.set_version_tags(version.name, version.version, verdict_tags(verdict))
        card = model_card(workspace, version, verdict)
        ledger.registry.set_description(version.name, version.version, card)
        write_version(_world(workspace), ledger.registry.version(version.name, version.version), entries)
    return RegisteredVerdict(version, verdict, candidate, uncommitted, changes)


def other_rules(workspace: Workspace, committed: CommittedCandidate) -> str:
    """Return whose rules judge, where those of params.yaml differ, and what to commit to change that."""
    files = uncommitted_files(workspace.root, ["dvc.lock", "params.yaml"])
    advice = f" Commit {' and '.join(files)} to judge under these." if files else ""
    return (
        f"judged under the rules of {committed.commit[:12]}, the newest commit that holds this candidate; "
        f"those in params.yaml differ.{advice}"
    )


@_releasing
def release(workspace: Workspace, judged: RegisteredVerdict) -> RegistryStatus:
    """Promote the candidate where `release.auto` of its commit says so, and return its status.

    Raises:
        ReleaseError: another promoter was faster, or history and registry disagree: since the run began,
            or since before where the registry did not answer then.
        StoreError: the registry failed; BundleError where its bytes are damaged.
    """
    version, world, candidate = judged.version, _world(workspace), judged.candidate
    before = world.registry.alias(version.name, CHAMPION)
    bar = _bar(world, version)
    if judged.verdict.accepted and not bar and not _is(before, version):
        _promote_automatically(workspace, candidate)
    if repository_fault(workspace.root) is None:
        Releases(world, version.name).check()
    is_champion = _is(world.registry.alias(version.name, CHAMPION), version)
    newest = world.registry.alias(version.name, CANDIDATE)
    other = CANDIDATE if _is(newest, version) else ""
    return RegistryStatus(
        model_name=version.name,
        version=version.version,
        alias=CHAMPION if is_champion else other,
        candidate=None if newest is None else newest.version,
        previous=None if before is None or _is(before, version) else before.version,
        why=judged.verdict.why(),
        commit=None if candidate is None else candidate.target.commit,
        uncommitted=judged.uncommitted,
        working_rules=judged.working_rules,
        barred=bar,
    )


def _promote_automatically(workspace: Workspace, candidate: JudgedCandidate | None) -> None:
    """Promote a candidate where params.yaml says so: that of its commit, because no other was reviewed."""
    if candidate is None:
        if Params.load(workspace.params).release.auto:
            write_line("release: release.auto promotes what a commit holds: commit, and run again")
    elif candidate.release.auto:
        for line in promote_candidate(workspace, open_ledger(workspace), candidate, reason=_REASON):
            write_line(f"release: {line}")


def _committed(workspace: Workspace, version: VersionRecord) -> tuple[CommittedCandidate | None, str]:
    """Return the candidate's commit, or why no commit holds it under the version's name."""
    try:
        committed = find_commit(workspace, present_entries(workspace))
        name = committed.release_params.release.model_name
    except (ReleaseError, ConfigError) as exc:
        return None, str(exc)
    if name == version.name:
        return committed, ""
    return None, (
        f"commit {committed.commit[:12]} holds the candidate with release.model_name '{name}'. Commit the "
        'new name:\n  git add params.yaml && git commit -m "another name"'
    )


def _bar(world: World, version: VersionRecord) -> str:
    return bar_of(Releases(world, version.name).history(), version)


def _is(found: VersionRecord | None, version: VersionRecord) -> bool:
    return found is not None and found.bundle_digest == version.bundle_digest


def _world(workspace: Workspace) -> World:
    return open_world(workspace, open_ledger(workspace))
