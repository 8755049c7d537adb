"""The place where any exception is caught: around work that must not end what it serves, and foreign code.

A recorder must not end a control loop; an error of a store must not prevent a rollback. The caller reports
the error.
"""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from sacpipe.core.errors import SacpipeError, StoreError, StoreUnavailableError

_T = TypeVar("_T")


def first_error(work: Callable[[], object]) -> Exception | None:
    """Do some work, and return the exception that ended it; None if it was done."""
    try:
        work()
    except Exception as exc:  # noqa: BLE001 - see above
        return exc
    return None


def fenced(member: _T, place: str, passing: str | None = None, parts: tuple[str, ...] = ()) -> _T:
    """Return a foreign member whose errors become StoreErrors that name `place`; one of sacpipe as it is.

    Errors of sacpipe pass, and those that come out of the module `passing`, which the member calls. `parts`
    are the attributes whose own methods are fenced too.
    """
    is_own = type(member).__module__.startswith(("sacpipe.", "pipelines."))
    return member if is_own else cast(_T, _Fenced(member, place, passing, parts))


class _Fenced:
    def __init__(self, member: object, place: str, passing: str | None, parts: tuple[str, ...]) -> None:
        self._member, self._fence, self._parts = member, (place, passing), parts

    def __getattr__(self, name: str) -> Any:
        with _errors(*self._fence):
            found = getattr(self._member, name)
        if name in self._parts:
            return _Fenced(found, *self._fence, ())
        return _errors(*self._fence)(found) if callable(found) else found


@contextlib.contextmanager
def _errors(place: str, passing: str | None) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as exc:
        modules = {frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(exc.__traceback__)}
        if isinstance(exc, SacpipeError) or passing in modules:
            raise
        kind = StoreUnavailableError if isinstance(exc, ConnectionError | TimeoutError) else StoreError
        raise kind(f"{place} raised {type(exc).__name__}: {exc}. Correct or update its package.") from exc
