"""The former champion that a rollback returns to."""

from sacpipe.core.errors import ReleaseError
from sacpipe.release.bars import bar_text
from sacpipe.release.history import History
from sacpipe.release.log import bundle_of
from sacpipe.release.record import Release


def former_champion(history: History, to: Release | None) -> Release:
    """Return the champion to return to.

    Args:
        history: The history, settled.
        to: A former champion; None for the last one that is not barred.

    Raises:
        ReleaseError: it is the champion, is barred, or never was champion; the message lists who may return.
    """
    now = bundle_of(history.champion)
    former = history.before_the_champion() if to is None else history.champions()
    free = [one for one in former if one.bundle not in history.barred and one.bundle != now]
    found = next((one for one in free if to is None or one.bundle == to.bundle), None)
    if found is None:
        names = ", ".join(dict.fromkeys(map(str, free))) or "none"
        raise ReleaseError(
            f"policy '{history.model}': {_refusal(history, to)}. Former champions that are not barred: "
            f"{names}. `sacpipe history` lists all, and "
            '`sacpipe rollback --to none --reason "WHY"` leaves robots without a champion.'
        )
    return found


def _refusal(history: History, to: Release | None) -> str:
    if to is None:
        return "a champion before cannot be returned to"
    if to.bundle == bundle_of(history.champion):
        return f"{to} cannot be returned to: it is champion already"
    if bar := history.barred.get(to.bundle):
        return (
            f"{to} cannot be returned to: it was {bar_text(bar)} "
            f'(`sacpipe promote {to.version} --again --reason "WHY"` promotes it anyway)'
        )
    return f"{to} cannot be returned to: it was never champion"
