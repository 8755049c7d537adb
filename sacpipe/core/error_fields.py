"""An error of sacpipe as plain values, to pass it from a child process to its parent."""

from collections.abc import Mapping
from typing import Any

from sacpipe.core import errors
from sacpipe.core.errors import SacpipeError


def error_fields(error: SacpipeError) -> dict[str, Any]:
    """Return class, message and whether a retry may succeed."""
    return {"error": type(error).__name__, "message": str(error), "retryable": error.retryable}


def error_of(fields: Mapping[str, Any]) -> SacpipeError:
    """Return the error that `error_fields` described."""
    kind = getattr(errors, fields["error"])
    error: SacpipeError = kind.__new__(kind, fields["message"])
    error.retryable = fields["retryable"]
    return error
