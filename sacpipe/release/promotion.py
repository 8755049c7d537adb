"""The promotion of a registered version: its commit, its verdict, and the move of the alias.

`sacpipe promote` and a flow with `release.auto` call it, under the workspace's lock.
"""

import contextlib
from dataclasses import dataclass

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import BundleError, ReleaseError, StoreError, StoreUnavailableError
from sacpipe.project.dvc.lock_file import LockEntries
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.candidate import CommittedCandidate, find_commit, present_entries
from sacpipe.release.config import ReleaseConfig, ReleaseParams
from sacpipe.release.gate import judge_version
from sacpipe.release.known_versions import KnownVersion, restored_outputs
from sacpipe.release.model_card import model_card
from sacpipe.release.real_world import open_world
from sacpipe.release.releases import Releases, Target
from sacpipe.release.rule_changes import rule_changes
from sacpipe.release.verdict import Verdict, verdict_tags
from sacpipe.release.versions import read_versions, write_version
from sacpipe.tracking.ledger import record_stage
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Tracker

CANDIDATE = "candidate"
"""Alias of the version that `sacpipe run` registered last."""


@dataclass(frozen=True)
class JudgedCandidate:
    """A version, its commit, and the verdict under that commit's rules."""

    target: Target
    verdict: Verdict
    release: ReleaseConfig
    """Section `release` of the commit."""
    working_rules: str
    """How the section of params.yaml as it is differs from it, in words; empty where it does not."""

    @property
    def moves(self) -> bool:
        """Whether a promotion may move the alias, or record a refusal: not in the mode `dry_run`."""
        return self.verdict.mode != "dry_run"


def judge_candidate(workspace: Workspace, tracker: Tracker, version: VersionRecord) -> JudgedCandidate:
    """Find the commit that holds a version, and judge the version by that commit's rules.

    Raises:
        ReleaseError: no commit holds it, or files of its task or rules here differ from the commit; the
            message has the git commands that help.
        ConfigError: the project is in no git repository, or the commit's params.yaml is wrong.
        StoreError: the registry failed; BundleError where the candidate's bytes are damaged.
    """
    entries = entries_of(workspace, tracker, version)
    committed = find_commit(workspace, entries)
    name = committed.release_params.release.model_name
    if name != version.name:
        raise ReleaseError(
            f"commit {committed.commit[:12]} holds version {version.version} under release.model_name "
            f"'{name}', not '{version.name}'. Commit params.yaml with the name under which it is released."
        )
    return judge_committed(workspace, tracker, version, entries, committed)


def judge_committed(
    workspace: Workspace,
    tracker: Tracker,
    version: VersionRecord,
    entries: LockEntries,
    committed: CommittedCandidate,
) -> JudgedCandidate:
    """Judge a version by the rules of the commit that holds it.

    Raises:
        ReleaseError: files of task or rules here differ from the commit; has the git commands that help.
        ConfigError: the commit's params.yaml is wrong.
        StoreError: the registry failed; BundleError where the candidate's bytes are damaged.
    """
    verdict = judge_version(workspace, tracker, version, committed.release_params, committed.commit)
    is_off = verdict.mode == "off"
    target = Target(
        version=version,
        verdict=None if is_off else verdict.as_tree(),
        is_accepted=verdict.accepted,
        judged_against=verdict.champion,
        commit=committed.commit,
        entries=dict(entries),
    )
    release = committed.release_params.release
    working = ReleaseParams.load_sections(workspace.params).release
    return JudgedCandidate(target, verdict, release, rule_changes(release, working))


def promote_candidate(
    workspace: Workspace, tracker: Tracker, candidate: JudgedCandidate, *, reason: str, again: bool = False
) -> list[str]:
    """Make a judged version the champion, if its verdict allows; return lines for the operator.

    Raises:
        ReleaseError: it is refused or barred, or another of `Releases.promote`.
        StoreError: the registry failed; BundleError where its bytes are damaged.
    """
    version = candidate.target.version
    if not candidate.moves:
        return [
            f"release.mode is dry_run: version {version.version} is not promoted, and nothing is recorded"
        ]
    tracker.registry.set_version_tags(version.name, version.version, verdict_tags(candidate.verdict))
    try:
        _describe(workspace, tracker, candidate)
    except StoreUnavailableError:
        raise
    except (BundleError, StoreError) as exc:  # a promoter's account may lack the right, or DVC the outputs
        write_line(f"commit and model card of version {version.version} are not recorded anew: {exc}")
    world = open_world(workspace, tracker)
    tagged = tracker.registry.version(version.name, version.version)
    write_version(world, tagged, candidate.target.entries)  # the promotion commits it with its verdict
    releases = Releases(world, version.name)
    return releases.promote(candidate.target, reason=reason, again=again)


def _describe(workspace: Workspace, tracker: Tracker, candidate: JudgedCandidate) -> None:
    """Write the model card with the present verdict, and the commit into the runs of the stages.

    A clone without the version's outputs restores them to make the card.

    Raises:
        StoreError: DVC lacks the outputs, or the registry refuses; BundleError where the outputs are damaged.
    """
    version, target = candidate.target.version, candidate.target
    outputs: contextlib.AbstractContextManager[Workspace] = contextlib.nullcontext(workspace)
    if not _is_present(workspace, version):
        known = KnownVersion(
            model=version.name,
            number=version.version,
            bundle=version.bundle_digest,
            entries=target.entries,
            tags=dict(version.tags),
            commit=target.commit,
            verdict=None,
            in_history=False,
        )
        outputs = restored_outputs(workspace, known)
    with outputs as folder:
        card = model_card(folder, version, candidate.verdict)
    tracker.registry.set_description(version.name, version.version, card)
    if folder is workspace:
        for stage in STAGES:  # a run before the commit could not record it
            record_stage(workspace, tracker, stage)


def _is_present(workspace: Workspace, version: VersionRecord) -> bool:
    """Return whether the workspace's bundle is a version's."""
    folder = workspace.bundle
    return folder.is_dir() and bundle_digest(folder, follow_cache_links=True) == version.bundle_digest


def entries_of(workspace: Workspace, tracker: Tracker, version: VersionRecord) -> LockEntries:
    """Return the entries of dvc.lock that made a version: of its file, or the present ones.

    Raises:
        ReleaseError: neither names the version's bundle.
        StoreError: a file under release/ or dvc.lock is damaged.
    """
    for known in read_versions(open_world(workspace, tracker).disk, version.name):
        if known.bundle == version.bundle_digest:
            return known.entries
    if _is_present(workspace, version):
        return present_entries(workspace)
    raise ReleaseError(
        f"version {version.version} of policy '{version.name}' was registered by another clone: nothing here "
        "says which commit made it. `git pull` fetches its file below release/."
    )
