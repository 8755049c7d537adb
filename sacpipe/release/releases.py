"""The release commands of one policy: promote, rollback, adopt, restore, resolve.

Each first settles what an earlier command left behind, under the lease, and commits the records it wrote.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sacpipe.core.errors import ReleaseError, SacpipeError
from sacpipe.core.fence import first_error
from sacpipe.core.files import canonical_json, sha256_bytes
from sacpipe.release.bars import bar_again, bar_as_shown, bar_text, bars_to_show, require_allowed, show_bars
from sacpipe.release.committed_records import commit_records, require_whole
from sacpipe.release.drift import drift_error
from sacpipe.release.former import former_champion
from sacpipe.release.head import Head, read_head
from sacpipe.release.history import History, read_history, release_folder, write_durably
from sacpipe.release.lease import is_left, leased
from sacpipe.release.log import CHAMPION, Facts, Log, alias_now, bundle_of, release_of
from sacpipe.release.move import close_intent, move
from sacpipe.release.record import Record, Release
from sacpipe.release.world import World
from sacpipe.tracking.registry import VersionRecord


@dataclass(frozen=True)
class Target:
    """A version that an operator wants as champion."""

    version: VersionRecord
    verdict: dict[str, Any] | None = None
    """The verdict of the release gate, as JSON; None where the gate is off."""
    is_accepted: bool = True
    judged_against: str | None = None
    """Bundle of the champion in the verdict."""
    commit: str | None = None
    entries: dict[str, Any] = field(default_factory=dict)
    """Entries of dvc.lock by stage."""


class Releases:
    """The releases of one policy.

    Args:
        world: Registry, git and the files of this clone. The caller holds the workspace's lock.
        model: Registered name.
    """

    def __init__(self, world: World, model: str) -> None:
        self._world, self._model = world, model

    def history(self) -> History:
        """Read and verify the history.

        Raises:
            ReleaseError: a record is damaged, or git holds one that is missing; each is named.
        """
        history = read_history(self._world.disk, self._model)
        require_whole(self._world.git, release_folder(self._model))
        return history

    def check(self) -> None:
        """Check that history and registry agree, by reading alone.

        Raises:
            ReleaseError: the history is damaged, forked, or behind the head; the alias was moved by hand; or
                an earlier command was interrupted.
            StoreError: the registry failed.
        """
        history = self.history()
        if not self._is_settled():
            if history.open_intent is None:
                self._require_alias(history)
            raise ReleaseError(
                f"{release_folder(self._model)}: an earlier command was interrupted. The next "
                "`sacpipe promote`, `rollback` or `run` finishes or undoes it first."
            )

    def settle(self) -> list[str]:
        """Finish or undo what a crash left, and check that history and registry agree.

        Returns:
            A line for the operator about each thing done.

        Raises:
            ReleaseError: the history is damaged, forked, or behind the head; or the alias was moved by hand.
            StoreError: the registry failed.
        """
        if self._is_settled():
            return []
        with self._log() as log:
            self._settle(log)
            return [*log.lines]  # the command that follows tells of its own commit

    def promote(self, target: Target, *, reason: str, again: bool = False) -> list[str]:
        """Make a version the champion; return lines for the operator.

        Args:
            target: The version and its verdict.
            reason: Why, in the operator's words.
            again: Promote a bundle that was rolled back.

        Raises:
            ReleaseError: it is refused or barred, its verdict is about another champion, another promoter was
                faster, or as `settle`.
            StoreError: the registry failed; BundleError where its bytes are damaged.
        """
        to = release_of(target.version)
        with self._log() as log:
            self._settle(log)
            champion = log.history.champion
            if bundle_of(champion) == to.bundle:
                return log.report(f"{to} is champion already")
            facts = Facts("promote", reason, self._keep(target), target.commit, target.entries)
            self._require_accepted(log, target, facts)
            require_allowed(log.history, target.version, again=again)
            bar = log.history.barred.get(to.bundle)
            if bar is not None or target.version.barred:
                self._world.prove(self._world.registry, target.version)
                log.append("allowed", facts, before=champion, to=to)
                log.publish()
                show_bars(log)
            try:
                move(log, champion, to, facts)
            except SacpipeError:
                if (
                    bar is not None
                    and bundle_of(log.history.champion) != to.bundle
                    and log.history.open_intent is None
                ):
                    first_error(lambda: bar_again(log, bar))
                raise
            return log.report(f"champion: {to}, after {champion or 'none'}")

    def rollback(self, to: Release | None, *, reason: str) -> list[str]:
        """Return to a former champion, and bar the present one; return lines for the operator.

        Args:
            to: A former champion; None for the last one that is not barred.
            reason: Why, in the operator's words.

        Raises:
            ReleaseError: there is no such former champion, or as `promote`.
            StoreError: the registry failed, or its bytes are damaged.
        """
        with self._log() as log:
            self._settle(log)
            champion = log.history.champion
            target = former_champion(log.history, to)
            origin = next(
                one for one in log.history.chain(log.history.tip) if one.settles and one.to == target
            )
            facts = Facts("rollback", reason, commit=origin.commit, entries=origin.entries)
            move(log, champion, target, facts)
            self._complete(log)
            barred = f", after {champion}, which is barred" if champion else ""
            follow = f"robots that follow {CHAMPION} go to version {target.version} at their next poll"
            return log.report(f"champion: {target}{barred}", follow)

    def withdraw(self, *, reason: str) -> list[str]:
        """Leave robots without a champion, and bar the present one; return lines for the operator.

        Raises:
            ReleaseError: there is no champion, or as `promote`.
            StoreError: the registry failed.
        """
        with self._log() as log:
            self._settle(log)
            champion = log.history.champion
            if champion is None:
                raise ReleaseError(f"policy '{self._model}' has no champion. `sacpipe history` shows why.")
            move(log, champion, None, Facts("rollback", reason))
            self._complete(log)
            return log.report(f"no champion, after {champion}, which is barred", "robots keep what they run")

    def adopt(self, reason: str) -> list[str]:
        """Accept an alias that was moved by hand, after proof of what it names.

        Raises:
            ReleaseError: what it names is barred, or as `settle`.
            StoreError: the registry failed; BundleError where its bytes are damaged.
        """
        with self._log() as log:
            self._settle(log, allows_drift=True)
            champion, found = log.history.champion, alias_now(self._world, self._model)
            if bundle_of(champion) == bundle_of(found):
                return log.report("nothing to adopt: the alias is where the history says")
            if found is not None and (bar := log.history.barred.get(found.bundle)):
                raise ReleaseError(
                    f"{found} is barred: {bar_text(bar)}. "
                    f'`sacpipe history --restore --reason "WHY"` returns to {champion or "no champion"}.'
                )
            if found is not None:
                self._world.prove(self._world.registry, self._world.registry.version(self._model, CHAMPION))
            log.require_unchanged(found)
            log.append("adopted", Facts("adopt", reason), before=champion, to=found)
            log.publish()
            return log.report(f"adopted: {found or 'no champion'}, before {champion or 'none'}")

    def restore(self, reason: str) -> list[str]:
        """Return an alias that was moved by hand to the champion of the history.

        Raises:
            ReleaseError: as `settle`.
            StoreError: the registry failed; BundleError where its bytes are damaged.
        """
        with self._log() as log:
            self._settle(log, allows_drift=True)
            champion, found = log.history.champion, alias_now(self._world, self._model)
            if bundle_of(champion) == bundle_of(found):
                return log.report("nothing to restore: the alias is where the history says")
            move(log, found, champion, Facts("restore", reason))
            return log.report(f"restored: {champion or 'no champion'}, instead of {found or 'none'}")

    def resolve(self, reason: str) -> list[str]:
        """Join the branches of a forked history, or go on where the head's record is lost for good.

        The branch of the head counts; where the head is lost, this clone's history does.

        Raises:
            ReleaseError: there is no fork and no lost record, or the fork lacks the head's branch.
            StoreError: the registry failed.
        """
        with self._log(joins=True) as log:
            tips = list(log.history.tips)
            is_known = log.published is None or log.published in log.history.records
            if len(tips) <= 1 and is_known:
                self._settle(log)
                return log.report("nothing to resolve: the history has one newest record")
            if len(tips) > 1 and not is_known:
                raise ReleaseError(
                    f"{release_folder(self._model)}: the history is forked, and this clone lacks the newest "
                    "published record. `git pull` first."
                )
            if is_known and log.published is not None:
                tips.sort(key=lambda tip: log.published not in log.history.branch(tip).records)
            self._join(log, tips, Facts("resolve", reason))
            self._settle(log)
            return log.lines

    def _join(self, log: Log, tips: list[Record], facts: Facts) -> None:
        """Settle the first branch, and write the record that follows all branches."""
        whole = log.history
        log.history = whole.branch(tips[0]) if tips else whole
        line = close_intent(log)
        champion, newest = log.history.champion, log.history.tips
        log.history = whole.joined(log.history)
        log.append("resolved", facts, before=None, to=champion, parents=(*newest, *tips[1:]))
        bar_as_shown(log)
        log.publish()
        log.report(*([] if line is None else [line]), f"resolved: the champion is {champion or 'none'}")

    @contextlib.contextmanager
    def _log(self, *, joins: bool = False) -> Iterator[Log]:
        """Open the history under the lease, and commit the records at the end."""
        self._world.git.actor()  # without an identity nothing begins
        history = self.history()  # nor on a damaged one
        with leased(self._world, self._model) as lease:
            history, head = self.history(), read_head(self._world.registry, self._model)
            if not joins:
                self._require_current(history, head)
            log = Log(self._world, history, None if head is None else head.sha256, lease)
            try:
                yield log
            except SacpipeError:
                first_error(
                    lambda: commit_records(self._world, log.history)
                )  # the next command commits what is left
                raise
            if line := commit_records(self._world, log.history):
                log.report(line)

    def _require_current(self, history: History, head: Head | None) -> None:
        if head is not None and head.sha256 not in history.records:
            raise ReleaseError(
                f"{release_folder(self._model)}: this clone is behind: the newest record is {head}. "
                "`git pull` fetches it, after its writer's `git push`. As the last resort, where no clone "
                "has that record (ask its writer, look below release/ in each), "
                '`sacpipe history --resolve --reason "WHY"` goes on without it.'
            )
        if head is None and history.champion is not None and alias_now(self._world, self._model) is None:
            raise ReleaseError(
                f"policy '{self._model}': the history names a champion, and this registry has no record of "
                "it. Check the registry's address; `sacpipe ledger rebuild` fills a new or lost registry."
            )

    def _is_settled(self) -> bool:
        """Return whether nothing is left to do, by reading alone."""
        history, head = self.history(), read_head(self._world.registry, self._model)
        self._require_current(history, head)
        tip = history.tip
        return (
            (tip and tip.sha256) == (head and head.sha256)
            and not (tip and tip.is_open)
            and bundle_of(history.champion) == bundle_of(alias_now(self._world, self._model))
            and not any(bars_to_show(self._world, history))
            and not self._uncommitted()
            and not is_left(self._world, self._model)
        )

    def _uncommitted(self) -> tuple[str, ...]:
        """Return the files that a command left; `sacpipe run` leaves those in versions/ uncommitted."""
        folders = (f"{release_folder(self._model)}/{below}" for below in ("history", "verdicts"))
        return tuple(path for folder in folders for path in self._world.git.uncommitted(folder))

    def _settle(self, log: Log, *, allows_drift: bool = False) -> None:
        line = close_intent(log) or self._left(log)
        self._complete(log)
        if not allows_drift:
            self._require_alias(log.history, note="" if line is None else f"Before that, {line}. ")
        if line is not None:
            log.report(line)

    def _left(self, log: Log) -> str | None:
        """Return a line about a newest record that its command did not publish or commit."""
        tip = log.history.tip
        if tip is None:
            return None
        left = f"record {tip.number}, {tip.kind}, which an interrupted {tip.action} had written"
        if tip.sha256 != log.published:
            return f"published: {left}"
        is_new = any(path.endswith(tip.file_name) for path in self._uncommitted())
        return f"committed: {left}" if is_new else None

    def _require_alias(self, history: History, note: str = "") -> None:
        found = alias_now(self._world, self._model)
        if bundle_of(history.champion) != bundle_of(found):
            raise drift_error(history, found, note)

    def _complete(self, log: Log) -> None:
        """Bar what a rollback left, publish the tip, and show the bars in the registry."""
        tip = log.history.tip
        if tip is not None and tip.kind == "proven" and tip.action == "rollback" and tip.before:
            log.append("barred", Facts("rollback", tip.reason), before=tip.to, to=tip.before)
        log.publish()
        show_bars(log)

    def _require_accepted(self, log: Log, target: Target, facts: Facts) -> None:
        champion, to = log.history.champion, release_of(target.version)
        if target.verdict is None:
            return
        if target.judged_against != bundle_of(champion):
            raise ReleaseError(
                f"{to} was judged against champion {(target.judged_against or 'none')[:12]}, and the "
                f"champion is now {champion or 'none'}. The same command judges again."
            )
        if not target.is_accepted:
            log.append("refused", facts, before=champion, to=to)
            log.publish()
            page = f"`sacpipe gate {to.version} --page verdict.html` draws its figures"
            raise ReleaseError(f"{to} is refused by the release gate, and nothing moved. {page}.")

    def _keep(self, target: Target) -> str | None:
        """Write the verdict beside the history; return its digest."""
        if target.verdict is None:
            return None
        data = canonical_json(target.verdict).encode() + b"\n"
        digest = sha256_bytes(data)
        path = f"{release_folder(self._model)}/verdicts/{digest}.json"
        write_durably(self._world.disk, path, data)  # the name of one that is there may not be durable
        return digest
