"""The steps of a run that release: settle, register a candidate, judge it; promote it where release.auto is true.

A run never moves the champion's alias otherwise: `sacpipe promote` does.
"""

from dataclasses import dataclass

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, ReleaseError, StoreUnavailableError
from sacpipe.params.model import Params
from sacpipe.project.git import repository_fault
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import Workspace
from sacpipe.release.candidate import CommittedCandidate, find_commit, present_entries
from sacpipe.release.config import ReleaseConfig, ReleaseParams
from sacpipe.release.gate import judge_version
from sacpipe.release.log import CHAMPION
from sacpipe.release.real_world import open_world
from sacpipe.release.releases import Releases, Target, bar_text
from sacpipe.release.verdict import Verdict, verdict_tags
from sacpipe.release.versions import write_version
from sacpipe.release.world import World
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.ledger import register_bundle
from sacpipe.tracking.registry import VersionRecord

CANDIDATE = "candidate"
"""The alias of the version that the last run registered."""
_REASON = "release.auto of params.yaml"


class RegistryStatus(Config):
    """The version and alias of a bundle in the registry at the end of a run."""

    model_name: str
    version: int
    alias: str
    """`champion`, or `candidate` while the version is not champion."""
    previous: int | None
    """Number of the champion when the run ended its work, where it was another version."""
    why: str
    """Reasons of the verdict, or of the bar, as one line."""
    commit: str | None
    """Commit that holds parameters, code and lock entries of the version; None where it is uncommitted."""
    uncommitted: str
    """Why no commit holds them, and the git commands that change it; empty where one does."""
    barred: str
    """When, by whom and why the bundle was rolled back; empty where it may be promoted."""


@dataclass(frozen=True)
class Judgement:
    """A registered candidate and the verdict on it."""

    version: VersionRecord
    verdict: Verdict
    release: ReleaseConfig
    """Section under which it was judged: that of its commit, or of params.yaml where it is uncommitted."""
    held: CommittedCandidate | None
    uncommitted: str


def settle(workspace: Workspace, params: Params) -> None:
    """Finish or undo what a release command left behind, and refuse to run where the alias was moved by hand.

    Without git there is no release. A registry that does not answer now may answer at the end of the run.

    Raises:
        ReleaseError: history and registry contradict each other, or this clone is behind.
        StoreError: the registry failed.
    """
    if repository_fault(workspace.root) is not None:
        return
    try:
        lines = Releases(_world(workspace), params.release.model_name).settle()
    except StoreUnavailableError as exc:
        lines = [f"{exc} The run goes on; the next command looks again."]
    for line in lines:
        write_line(f"release: {line}")


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


def judge(workspace: Workspace, version: VersionRecord) -> Judgement:
    """Judge the candidate under the release section of its commit, and tell the registry the verdict.

    What the registry says of the present champion is the verdict of its promotion, and stays.

    Raises:
        ConfigError: a section of params.yaml is wrong.
        StoreError: the registry failed; BundleError where the bundle is damaged.
    """
    ledger, world = open_ledger(workspace), _world(workspace)
    held, params, uncommitted = _committed(workspace, version)
    verdict = judge_version(workspace, ledger, version, params, None if held is None else held.commit)
    if CHAMPION not in version.aliases:
        ledger.registry.set_version_tags(version.name, version.version, verdict_tags(verdict))
        ledger.registry.set_description(version.name, version.version, f"```\n{verdict.text()}```\n")
        judged = ledger.registry.version(version.name, version.version)
        write_version(world, judged, present_entries(workspace))
    return Judgement(version, verdict, params.release, held, uncommitted)


def release(workspace: Workspace, judgement: Judgement) -> RegistryStatus:
    """Promote the candidate where `release.auto` of its commit says so, and return where it stands.

    Raises:
        ReleaseError: another promoter was faster, or the alias was moved by hand meanwhile.
        StoreError: the registry failed; BundleError where its bytes are damaged.
    """
    version, world = judgement.version, _world(workspace)
    before = world.registry.alias(version.name, CHAMPION)
    bar = _bar(world, version)
    if judgement.release.auto and judgement.verdict.accepted and not bar and not _is(before, version):
        for line in _promoted(workspace, world, judgement):
            write_line(f"release: {line}")
    is_champion = _is(world.registry.alias(version.name, CHAMPION), version)
    return RegistryStatus(
        model_name=version.name,
        version=version.version,
        alias=CHAMPION if is_champion else CANDIDATE,
        previous=None if before is None or _is(before, version) else before.version,
        why=bar or judgement.verdict.why(),
        commit=None if judgement.held is None else judgement.held.commit,
        uncommitted=judgement.uncommitted,
        barred=bar,
    )


def _promoted(workspace: Workspace, world: World, judgement: Judgement) -> list[str]:
    """Promote a candidate that a commit holds; return lines for the operator."""
    if judgement.held is None:
        return ["release.auto promotes what a commit holds: commit the candidate, and run again"]
    verdict = judgement.verdict
    target = Target(
        version=judgement.version,
        verdict=None if verdict.mode == "off" else verdict.as_tree(),
        is_accepted=verdict.accepted,
        judged_against=verdict.champion,
        commit=judgement.held.commit,
        entries=dict(present_entries(workspace)),
    )
    return Releases(world, judgement.version.name).promote(target, reason=_REASON)


def _committed(
    workspace: Workspace, version: VersionRecord
) -> tuple[CommittedCandidate | None, ReleaseParams, str]:
    """Return the candidate's commit, the sections to judge it under, and why no commit holds it."""
    try:
        held = find_commit(workspace, present_entries(workspace))
        params = held.release_params
    except (ReleaseError, ConfigError) as exc:
        return None, ReleaseParams.load_sections(workspace.params), str(exc)
    name = params.release.model_name
    if name == version.name:
        return held, params, ""
    why = (
        f"commit {held.commit[:12]} holds the candidate under release.model_name '{name}'. Commit the new name:\n"
        '  git add params.yaml && git commit -m "another name"'
    )
    return None, ReleaseParams.load_sections(workspace.params), why


def _bar(world: World, version: VersionRecord) -> str:
    """Return when, by whom and why a version was barred; empty where it is not.

    The history is the source; the registry's tag also knows what another clone has barred since.
    """
    record = Releases(world, version.name).history().barred.get(version.bundle_digest)
    return version.barred if record is None else bar_text(record)


def _is(found: VersionRecord | None, version: VersionRecord) -> bool:
    return found is not None and found.bundle_digest == version.bundle_digest


def _world(workspace: Workspace) -> World:
    return open_world(workspace, open_ledger(workspace))
