"""An alias that was moved by hand, and the commands that an operator has for it."""

from sacpipe.core.errors import ReleaseError
from sacpipe.release.bars import bar_text
from sacpipe.release.history import History
from sacpipe.release.log import CHAMPION
from sacpipe.release.record import Release


def drift_error(history: History, found: Release | None, note: str = "") -> ReleaseError:
    """Return the error about an alias that names another bundle than the history.

    Args:
        history: The history.
        found: What the registry names.
        note: What else happened, as a sentence.
    """
    bar = history.barred.get(found.bundle) if found else None
    adopt = (
        f"{found} is barred: {bar_text(bar)}. "
        if bar
        else '`sacpipe history --adopt --reason "WHY"` accepts the registry\'s, '
    )
    return ReleaseError(
        f"alias '{CHAMPION}' of policy '{history.model}' was moved by hand: the history names "
        f"{history.champion or 'no champion'}, the registry names {found or 'none'}. {note}{adopt}"
        '`sacpipe history --restore --reason "WHY"` returns to the history\'s.'
    )
