"""The one place where any exception is caught: around work that must not end what it serves.

A recorder must not end a control loop; an error of a store must not prevent a rollback. The caller reports
the error.
"""

from collections.abc import Callable


def first_error(work: Callable[[], object]) -> Exception | None:
    """Do some work, and return the exception that ended it; None if it was done."""
    try:
        work()
    except Exception as exc:  # noqa: BLE001 - see above
        return exc
    return None
