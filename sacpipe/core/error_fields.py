"""An error of sacpipe as plain values, to pass it from a child process to its parent."""

from collections.abc import Mapping
from typing import Any

from sacpipe.core import errors
from sacpipe.core.errors import SacpipeError


def error_fields(error: SacpipeError) -> dict[str, Any]:
    """Return class, message and whether a retry may succeed.

    Of an error of another package, which the parent may not have, the class is the nearest one of ours.
    """
    ours = next(kind for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)
    return {"error": ours.__name__, "message": str(error), "retryable": error.retryable}


def error_of(fields: Mapping[str, Any]) -> SacpipeError:
    """Return the error that `error_fields` described."""
    kind = getattr(errors, fields["error"])
    error: SacpipeError = kind.__new__(kind, fields["message"])
    error.retryable = fields["retryable"]
    return error
