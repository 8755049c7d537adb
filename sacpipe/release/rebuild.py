"""Rebuild a lost or new ledger: runs, versions under their own numbers, bars, aliases, head.

It restores what is lost and contradicts nothing. An alias that names another version than the history says
is not moved; without a history nothing is promoted; a damaged history stops it before the first write.
"""

from collections.abc import Iterator, Sequence

from sacpipe.core.errors import BundleError, StoreError, StoreUnavailableError
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.stage_key import locked_inputs
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.bars import bar_text
from sacpipe.release.committed_records import require_whole
from sacpipe.release.drift import drift_error
from sacpipe.release.head import publish, read_head
from sacpipe.release.heal import heal
from sacpipe.release.history import History, read_history
from sacpipe.release.known_versions import (
    KnownVersion,
    begun_repair,
    known_verdict,
    known_versions,
    note_repair,
    policies,
    record_known,
    register_known,
    require_current,
    reserve,
    restored_outputs,
    show_tags,
)
from sacpipe.release.log import CHAMPION, alias_now, bundle_of
from sacpipe.release.model_card import model_card
from sacpipe.release.promotion import CANDIDATE
from sacpipe.release.versions import write_version
from sacpipe.release.world import Disk, Git, World
from sacpipe.tracking.ledger import Origin, record_stage
from sacpipe.tracking.registry import BARRED_TAG, VersionRecord
from sacpipe.tracking.tracker import Tracker

_RESERVED_TAG = "sacpipe.reserved_number"
"""Tag of a registered name: the last number, whose version was lost before a rebuild."""


def rebuild(workspace: Workspace, tracker: Tracker, world: World) -> Iterator[str]:
    """Record every stage of dvc.lock, and every version that release/ names; yield a line for each.

    The caller holds the workspace's lock.

    Raises:
        ReleaseError: a history is damaged, forked or behind the head, or an alias was moved by hand. Nothing
            was written.
        StoreError: an output is missing, or the tracker failed.
    """
    histories = read_histories(world.git, world.disk)
    for history in histories:
        _check(world, history)
    known = {history.model: known_versions(world.disk, history) for history in histories}
    yield from _record_stages(workspace, tracker, [one for found in known.values() for one in found])
    for history in histories:
        with world.registry.exclusive(history.model):
            yield from _Policy(workspace, tracker, world, history).rebuild(known[history.model])
            yield from heal(workspace, tracker, world, history.model, everything=True)
    if not histories:
        yield (
            "releases: none known, because git has no folder release/. `sacpipe run` registers the present "
            "bundle as a candidate; nothing is promoted."
        )


def read_histories(git: Git, disk: Disk) -> list[History]:
    """Read and verify the history of every policy in release/.

    Raises:
        ReleaseError: one is damaged or forked, or git holds a record that is missing.
    """
    found = [read_history(disk, model) for model in policies(disk)]
    require_whole(git)
    for history in found:
        _ = history.tip  # raises where it is forked
    return found


def _record_stages(workspace: Workspace, tracker: Tracker, known: Sequence[KnownVersion]) -> Iterator[str]:
    """Record the stages of dvc.lock, with the commit under which they were recorded before."""
    commits = {
        locked_inputs(entry).key: one.commit for one in known if one.commit for entry in one.entries.values()
    }
    recorded = read_lock(workspace.dvc_lock)
    for stage in STAGES:
        if stage in recorded:
            origin = Origin(workspace.root, commits.get(locked_inputs(recorded[stage]).key))
            yield f"{stage}: run {record_stage(workspace, tracker, stage, origin=origin)}"


def _check(world: World, history: History) -> None:
    """Refuse a registry that says something else than the history."""
    tip = history.tip
    require_current(world.registry, history)
    found = alias_now(world, history.model)
    allowed = {bundle_of(history.champion)}
    if tip is not None and tip.is_open:  # the next release command finishes or undoes the move
        allowed.add(bundle_of(tip.to))
    if found is None:
        # Gone with the champion's version, or never set in a registry without a head; else a hand deleted it.
        begun = begun_repair(world.registry, history.model)
        is_drift = allowed.isdisjoint({None, *begun}) and _has_champion(world, history)
    else:
        is_drift = found.bundle not in allowed
    if is_drift:
        raise drift_error(history, found, "Nothing was written. ")


def _has_champion(world: World, history: History) -> bool:
    """Return whether a registry has a head and the champion's version, so that releases were made in it."""
    present = {one.bundle_digest for one in world.registry.versions(history.model)}
    return read_head(world.registry, history.model) is not None and bundle_of(history.champion) in present


class _Policy:
    """The rebuild of one policy."""

    def __init__(self, workspace: Workspace, tracker: Tracker, world: World, history: History) -> None:
        self._workspace, self._tracker = workspace, tracker
        self._world, self._history, self._model = world, history, history.model

    def rebuild(self, known: Sequence[KnownVersion]) -> Iterator[str]:
        """Yield a line for each version and each alias.

        Raises:
            StoreError: the tracker failed, or the champion's bytes are lost.
        """
        champion, registry = self._history.champion, self._world.registry
        if champion and self._registered(champion.bundle) is None and read_head(registry, self._model):
            note_repair(registry, self._model, [champion.bundle])  # killed, its alias is no hand's work
        numbers: set[int] = set()
        later = []
        for one in known:
            line = None if one.number in numbers else self._version(one, one.number)
            numbers.add(one.number)
            if line is None:
                later.append(one)
            else:
                yield line
        self._reserve(known)
        for one in later:  # last, because the next number must be none that another bundle had
            yield self._version(one, None) or f"{one}: not registered"
        yield from self._aliases(known)
        if begun_repair(registry, self._model):
            note_repair(registry, self._model, [])
        self._publish()
        self._require_champion()

    def _version(self, known: KnownVersion, number: int | None) -> str | None:
        """Register a version, unless it is there; return its line, or None where the number is taken."""
        present = self._world.registry.versions(self._model)
        found = next((one for one in present if one.bundle_digest == known.bundle), None)
        if found is None or not found.description:
            try:
                with restored_outputs(self._workspace, known) as older:
                    found = found or self._register(older, known, number)
                    self._describe(older, known, found)
            except StoreUnavailableError:
                raise
            except (BundleError, StoreError) as exc:
                if found is None:
                    return f"{known}: lost, and no other bundle gets its number: {exc}"
        if found is None:
            return None
        show_tags(self._world.registry, known, found)  # a rebuild that was killed left some out
        self._show_bar(found)
        return f"{known}{f', as version {found.version}' if found.version != known.number else ''}"

    def _register(self, older: Workspace, known: KnownVersion, number: int | None) -> VersionRecord | None:
        """Register a version and keep its number in its file; None where the number cannot be given."""
        record_known(older, self._tracker, known, self._workspace.root)
        try:
            version = register_known(older, self._tracker, known, number=number)
        except StoreUnavailableError:
            raise
        except StoreError:
            if number is None:
                raise
            return None
        write_version(self._world, version, known.entries)
        return version

    def _describe(self, older: Workspace, known: KnownVersion, version: VersionRecord | None) -> None:
        if version is not None and not version.description:
            card = model_card(older, version, known_verdict(self._workspace, self._world.disk, known))
            self._world.registry.set_description(self._model, version.version, card)

    def _reserve(self, known: Sequence[KnownVersion]) -> None:
        """Take the last number where its version is lost: the registry would give it to the next bundle.

        Lost numbers before the last registered version are taken already.
        """
        present = self._world.registry.versions(self._model)
        last = known[-1] if known else None
        if last is None or not present or last.number <= present[-1].version:
            return
        if self._world.registry.model_tags(self._model).get(_RESERVED_TAG) != str(last.number):
            reserve(self._tracker, last, present[-1])
            self._world.registry.set_model_tags(self._model, {_RESERVED_TAG: str(last.number)})

    def _show_bar(self, version: VersionRecord) -> None:
        bar = self._history.barred.get(version.bundle_digest)
        if bar is not None and not version.barred:
            tags = {BARRED_TAG: bar_text(bar)}
            self._world.registry.set_version_tags(self._model, version.version, tags)

    def _aliases(self, known: Sequence[KnownVersion]) -> Iterator[str]:
        """Set the aliases that are missing, and yield a line for each."""
        champion, now = self._history.champion, alias_now(self._world, self._model)
        version = self._registered(bundle_of(champion))
        if champion is None:
            yield f"{self._model}@{CHAMPION}: none, because the history promotes no version"
        elif now is None and version is not None:
            self._world.prove(self._world.registry, version)
            self._world.registry.set_alias(self._model, CHAMPION, version.version)
        if version is not None:
            yield f"{self._model}@{CHAMPION}: version {(now or version).version}"
        newest = (self._registered(one.bundle) for one in reversed(known))
        last = next((one for one in newest if one is not None and not one.barred), None)
        if last is not None:
            present = self._world.registry.alias(self._model, CANDIDATE)
            if present is None:
                self._world.registry.set_alias(self._model, CANDIDATE, last.version)
            yield f"{self._model}@{CANDIDATE}: version {(present or last).version}"

    def _registered(self, bundle: str | None) -> VersionRecord | None:
        known = self._world.registry.versions(self._model)
        return next((one for one in known if one.bundle_digest == bundle), None)

    def _publish(self) -> None:
        """Make the newest record the head of a registry that has none."""
        tip = self._history.tip
        if tip is not None and read_head(self._world.registry, self._model) is None:
            publish(self._world.registry, self._model, None, tip)

    def _require_champion(self) -> None:
        champion = self._history.champion
        if champion is not None and self._registered(champion.bundle) is None:
            raise StoreError(
                f"policy '{self._model}': the champion, {champion}, is lost: neither DVC's cache nor its "
                "remote has its bytes. `dvc push` in a clone that has them sends them; else `git checkout` "
                "of its commit in `sacpipe history`, and `sacpipe run`, make them again."
            )
