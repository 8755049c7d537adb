"""Bars: a bundle that was rolled back is promoted and served by nothing, until `promote --again`.

The history is the source; a tag of the version shows its bar to robots, and to clones that lack the record.
"""

from collections.abc import Iterator

from sacpipe.core.errors import ReleaseError
from sacpipe.release.history import History
from sacpipe.release.log import Facts, Log, release_of
from sacpipe.release.record import Record
from sacpipe.release.world import World
from sacpipe.tracking.registry import BARRED_TAG, MAX_TAG_CHARS, VersionRecord


def bar_text(bar: Record) -> str:
    """Return who barred a bundle, when and why, as short as a tag has to be."""
    return f"rolled back at {bar.time} by {bar.actor}: {bar.reason}"[:MAX_TAG_CHARS]


def bar_of(history: History, version: VersionRecord) -> str:
    """Return when, by whom and why a version was barred; empty where it is not.

    The history is the source; the registry's tag also knows what another clone has barred since.
    """
    bar = history.barred.get(version.bundle_digest)
    return version.barred if bar is None else bar_text(bar)


def require_allowed(history: History, version: VersionRecord, *, again: bool = False) -> None:
    """Check that a version is not barred, by this history or another clone's, or may be promoted again.

    Raises:
        ReleaseError: it is barred. The message says by whom, when and why.
    """
    text = bar_of(history, version)
    if text and not again:
        raise ReleaseError(
            f"{release_of(version)} is barred: {text}. "
            f'`sacpipe promote {version.version} --again --reason "WHY"` promotes it anyway.'
        )


def bars_to_show(world: World, history: History) -> Iterator[tuple[VersionRecord, str]]:
    """Yield each version whose tag differs from the history, and the tag it should have."""
    for version in world.registry.versions(history.model):
        bar = history.barred.get(version.bundle_digest)
        text = "" if bar is None else bar_text(bar)
        # A tag whose bar this history never lifted is of records that this clone lacks.
        if version.barred != text and (text or history.allowed(version.bundle_digest)):
            yield version, text


def show_bars(log: Log) -> None:
    """Set the tags that differ from the history.

    Raises:
        ReleaseError: another promoter released meanwhile, who may have lifted a bar.
    """
    for version, text in bars_to_show(log.world, log.history):
        log.require_newest()
        log.world.registry.set_version_tags(log.model, version.version, {BARRED_TAG: text})


def bar_again(log: Log, bar: Record) -> None:
    """Bar a bundle whose promotion failed after its bar was lifted."""
    barred = bar.to if bar.kind == "barred" else bar.before
    log.append("barred", Facts("promote", bar.reason), before=log.history.champion, to=barred)
    log.publish()
    show_bars(log)


def bar_as_shown(log: Log) -> None:
    """Record the bars that tags show and this history never knew: their records are lost."""
    for version in log.world.registry.versions(log.model):
        bundle = version.bundle_digest
        if version.barred and bundle not in log.history.barred and not log.history.allowed(bundle):
            facts = Facts("resolve", version.barred)
            log.append("barred", facts, before=log.history.champion, to=release_of(version))
