"""The report of an error that nothing foresaw: one line for the operator, the traceback in a log file."""

import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from os import getpid
from pathlib import Path

from sacpipe.core.errors import StorageError
from sacpipe.core.files import write_text
from sacpipe.version import __version__

EXIT_CODE = 3
"""Exit code of a process that ends with an unforeseen error."""
_MAX_TEXT = 300
"""Maximum length of the error's text in the line; the log has all of it."""


def report_crash(what: str, error: BaseException, folder: Path | None) -> str:
    """Write the traceback of an error to a log file, and return a line that names both.

    Args:
        what: Command or stage that ended, e.g. `sacpipe run`.
        error: What ended it.
        folder: Folder for the log, if it exists; else, or if it cannot be written, the temporary folder.
    """
    name = f"crash-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{getpid()}.log"
    text = _log_text(what, error)
    own = [folder] if folder is not None and folder.is_dir() else []
    path = _write_first([one / name for one in (*own, Path(tempfile.gettempdir()))], text)
    cause = " ".join("".join(traceback.format_exception_only(error)).split())
    cause = cause if len(cause) <= _MAX_TEXT else f"{cause[: _MAX_TEXT - 3]}..."
    where = "The traceback could not be written" if path is None else f"The traceback is in {path}"
    return f"{what} ended by an error that was not foreseen: {cause}. {where}; please report it."


def _log_text(what: str, error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error))
    versions = f"sacpipe {__version__}, Python {platform.python_version()}, {platform.platform()}"
    return f"{what}\n{versions}\n{sys.argv}\n\n{lines}"


def _write_first(paths: Sequence[Path], text: str) -> Path | None:
    for path in paths:
        try:
            write_text(path, text.encode(errors="backslashreplace").decode())
        except StorageError:
            continue
        return path
    return None
