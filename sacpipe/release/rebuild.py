"""Rebuild a lost or new ledger: runs, versions under their own numbers, bars, aliases, head.

It restores what is lost and contradicts nothing. An alias that names another version than the history says
is not moved; without a history nothing is promoted; a damaged history stops it before the first write.
"""

from collections.abc import Iterator

from sacpipe.core.errors import ConfigError, ReleaseError, StoreError, StoreUnavailableError
from sacpipe.core.json_lines import json_lines
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.head import publish, read_head
from sacpipe.release.history import History, read_history, release_folder
from sacpipe.release.known_versions import (
    KnownVersion,
    known_versions,
    policies,
    register_known,
    reserve,
    restored_outputs,
)
from sacpipe.release.log import CHAMPION, alias_now, bundle_of
from sacpipe.release.model_card import model_card
from sacpipe.release.releases import bar_text
from sacpipe.release.verdict import Verdict
from sacpipe.release.world import World
from sacpipe.tracking.ledger import record_stage
from sacpipe.tracking.registry import BARRED_TAG, VersionRecord
from sacpipe.tracking.tracker import Tracker

CANDIDATE = "candidate"
"""The alias of the version that was registered last."""


def rebuild(workspace: Workspace, tracker: Tracker, world: World) -> Iterator[str]:
    """Record every stage of dvc.lock, and every version that release/ names; yield a line for each.

    The caller holds the workspace's lock.

    Raises:
        ReleaseError: a history is damaged, forked or behind the head, or an alias was moved by hand. Nothing
            was written.
        StoreError: an output is missing, or the tracker failed.
    """
    histories = [read_history(world.disk, model) for model in policies(world.disk)]
    for history in histories:
        _check(world, history)
    recorded = read_lock(workspace.dvc_lock)
    for stage in STAGES:
        if stage in recorded:
            yield f"{stage}: run {record_stage(workspace, tracker, stage)}"
    for history in histories:
        with world.registry.exclusive(history.model):
            yield from _Policy(workspace, tracker, world, history).rebuild()
    if not histories:
        yield (
            "releases: none known, because git has no folder release/. `sacpipe run` registers the present "
            "bundle as a candidate; nothing is promoted."
        )


def _check(world: World, history: History) -> None:
    """Refuse a registry that says something else than the history."""
    tip, head = history.tip, read_head(world.registry, history.model)
    if head is not None and head.sha256 not in history.records:
        raise ReleaseError(
            f"{release_folder(history.model)}: this clone is behind: the newest record is {head}. `git pull` "
            "fetches it."
        )
    found = alias_now(world, history.model)
    allowed = {bundle_of(history.champion)}
    if tip is not None and tip.is_open:  # the next release command finishes or undoes the move
        allowed.add(bundle_of(tip.to))
    if found is not None and found.bundle not in allowed:
        raise ReleaseError(
            f"alias '{CHAMPION}' of policy '{history.model}' was moved by hand: the history says "
            f"{history.champion or 'no champion'}, the registry says {found}. Nothing was written. "
            '`sacpipe history --adopt --reason "..."` accepts the registry\'s, '
            '`sacpipe history --restore --reason "..."` returns to the history\'s.'
        )


class _Policy:
    """The rebuild of one policy."""

    def __init__(self, workspace: Workspace, tracker: Tracker, world: World, history: History) -> None:
        self._workspace, self._tracker = workspace, tracker
        self._world, self._history, self._model = world, history, history.model

    def rebuild(self) -> Iterator[str]:
        known = known_versions(self._world.disk, self._history)
        numbers: set[int] = set()
        doubled = []
        for one in known:
            if one.number in numbers:
                doubled.append(one)
                continue
            numbers.add(one.number)
            yield self._version(one, number=one.number)
        for one in doubled:  # last: the next number must be none that another bundle had
            yield self._version(one, number=None)
        yield from self._aliases(known)
        self._publish()

    def _version(self, known: KnownVersion, number: int | None) -> str:
        """Register a version, unless it is there already; return its line."""
        present = self._world.registry.versions(self._model)
        found = next((one for one in present if one.bundle_digest == known.bundle), None)
        lost = ""
        if found is None or not found.description:
            try:
                found = self._restore(known, found, number)
            except StoreUnavailableError:
                raise
            except StoreError as exc:
                lost = str(exc)
        if found is None:
            if present and number is not None and number > present[-1].version:
                reserve(self._tracker, known, present[-1])
            return f"{known}: lost, and its number is given to no other: {lost}"
        self._show_bar(found)
        other = "" if found.version == known.number else f", as version {found.version}"
        return f"{known}{other}"

    def _restore(self, known: KnownVersion, found: VersionRecord | None, number: int | None) -> VersionRecord:
        """Register a version from DVC's bytes, or complete one that a kill left without its card."""
        with restored_outputs(self._workspace, known) as older:
            if found is None:
                root = self._workspace.root
                found = register_known(older, self._tracker, known, root, number=number)
            card = model_card(older, found, self._verdict(known))
            self._world.registry.set_description(self._model, found.version, card)
        return found

    def _verdict(self, known: KnownVersion) -> Verdict | None: ...

    def _show_bar(self, version: VersionRecord) -> None:
        bar = self._history.barred.get(version.bundle_digest)
        if bar is not None and not version.barred:
            tags = {BARRED_TAG: bar_text(bar)}
            self._world.registry.set_version_tags(self._model, version.version, tags)
