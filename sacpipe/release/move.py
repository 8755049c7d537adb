"""The move of the champion's alias: intended, moved, proven; or restored.

A record is on the disk, and published as the head, before what it announces is done. A crash at any point
leaves a history that says what was going on, and `close_intent` finishes or undoes it: where the alias names
the new version that version is proven, and where it does not the move is recorded as undone.
"""

from sacpipe.core.errors import BundleError, SacpipeError, StoreError, StoreUnavailableError
from sacpipe.core.fence import first_error
from sacpipe.release.head import LostRaceError
from sacpipe.release.log import CHAMPION, Facts, Log, alias_now, bundle_of, release_of
from sacpipe.release.record import Record, Release
from sacpipe.release.world import World
from sacpipe.tracking.registry import VersionRecord


def find_version(world: World, model: str, release: Release) -> VersionRecord:
    """Return the registered version of a release's bundle.

    Raises:
        StoreError: there is none.
    """
    known = world.registry.versions(model)
    found = next((one for one in known if one.bundle_digest == release.bundle), None)
    if found is None:
        raise StoreError(
            f"policy '{model}' has no version with bundle {release.bundle[:12]}. `sacpipe ledger rebuild` "
            "registers it again where DVC has its bytes."
        )
    return found


def move(log: Log, before: Release | None, to: Release | None, facts: Facts) -> None:
    """Move the alias, and prove what it names then. Where that fails, the alias is put back.

    Args:
        log: The history, settled.
        before: What the alias names.
        to: What it shall name, another bundle; None deletes the alias.
        facts: The command, and why.

    Raises:
        ReleaseError: another promoter or a hand interfered; nothing is moved, or it is moved back.
        StoreError: the registry failed. Where it does not answer, the next command finishes or undoes.
        BundleError: the registry's bytes are damaged.
    """
    version = None
    if to is not None:
        version = find_version(log.world, log.model, to)
        log.world.prove(log.world.registry, version)
        to = release_of(version)  # a rebuilt registry may have given the bundle another number
    settled, is_moved = log.published, False
    log.append("intended", facts, before=before, to=to)
    try:
        log.publish()
        log.require_unchanged(before)
        is_moved = True
        _point(log.world, log.model, version)
        _finish(log, before, to, facts)
    except SacpipeError as exc:
        reason = str(exc)
        lost = exc if isinstance(exc, LostRaceError) else first_error(lambda: close_intent(log, reason))
        if isinstance(lost, LostRaceError):  # after any other error the next command closes the intent
            # Without a record `proven` that was not published, the intent is open while the alias goes back.
            first_error(lambda: log.drop_after(log.published))
            if is_moved and bundle_of(alias_now(log.world, log.model)) == bundle_of(to):
                _return_to(log, before)
            log.drop_after(settled)
        raise


def close_intent(log: Log, failure: str | None = None) -> str | None:
    """Finish or undo an open move; return a line for the operator, or None where none is open.

    Args:
        log: The history.
        failure: Why the move is undone in any case; None finishes it if the alias names its target.

    Raises:
        ReleaseError: another promoter interferes.
        StoreError: the registry failed; the move stays open.
    """
    intent = log.history.open_intent
    if intent is None:
        return None
    what = f"{intent.action} of {intent.to or 'no version'}, begun by {intent.actor} at {intent.time}"
    facts = Facts(intent.action, intent.reason, intent.verdict, intent.commit, intent.entries)
    champion = log.history.champion
    log.publish()
    if bundle_of(alias_now(log.world, log.model)) == bundle_of(intent.to):
        failure = failure or _failure_to_finish(log, intent, facts)
        if failure is None:
            return f"finished: {what}"
        _put_back(log, intent)
    failure = failure or "it was interrupted before the alias moved"
    log.append("restored", Facts(intent.action, failure), before=intent.to, to=champion)
    log.publish()
    return f"undone: {what}: {failure}"


def _failure_to_finish(log: Log, intent: Record, facts: Facts) -> str | None:
    """Finish a move; return why it cannot be proven, or None where it is proven now."""
    try:
        _finish(log, intent.before, intent.to, facts)
    except StoreUnavailableError:
        raise
    except (BundleError, StoreError) as exc:
        return str(exc)
    return None


def _finish(log: Log, before: Release | None, to: Release | None, facts: Facts) -> None:
    """Record that the alias moved, prove what it names from the registry's bytes, and record that."""
    log.require_unchanged(to)
    if (tip := log.history.tip) is not None and tip.kind == "intended":
        log.append("moved", facts, before=before, to=to)
        log.publish()
    if to is not None:
        log.world.prove(log.world.registry, find_version(log.world, log.model, to))
    log.require_unchanged(to)
    log.append("proven", facts, before=before, to=to)
    log.publish()


def _put_back(log: Log, intent: Record) -> None:
    """Point the alias at the champion before a move, if it still names the move's target."""
    log.require_unchanged(intent.to)
    champion = log.history.champion
    _return_to(log, champion)
    log.require_unchanged(champion)


def _return_to(log: Log, release: Release | None) -> None:
    _point(log.world, log.model, None if release is None else find_version(log.world, log.model, release))


def _point(world: World, model: str, version: VersionRecord | None) -> None:
    if version is None:
        world.registry.delete_alias(model, CHAMPION)
    else:
        world.registry.set_alias(model, CHAMPION, version.version)
