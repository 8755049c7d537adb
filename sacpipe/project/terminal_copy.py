"""Copies a command's bytes to a terminal at once, for progress bars, except lines that are hidden."""

import contextlib
import os
import re
from dataclasses import dataclass

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and movements of the cursor."""
_PARTIAL_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*)?$")
_SHOW_CURSOR, _HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"
_PIECES = re.compile(rb"[^\r\n]*[\r\n]+|[^\r\n]+")


@dataclass(frozen=True)
class TerminalRules:
    """What of a command's stderr a terminal shows. The caller gets every line all the same."""

    hidden: tuple[str, ...] = ()
    """First characters of lines that are not shown."""
    last: tuple[str, ...] = ()
    """First characters of lines with which the display ends: the caller shows that message itself."""


@dataclass
class TerminalCopy:
    """Copies bytes to a terminal at once, except a line that is hidden by its first characters."""

    descriptor: int
    rules: TerminalRules
    is_ended: bool = False
    hides_cursor: bool = False
    _held: bytes = b""
    """Begin of a line that may become a hidden one."""
    _is_open: bool = False
    """Whether the rest of the line follows the fate of its begin."""
    _is_hidden: bool = False
    _tail: bytes = b""
    """Last bytes that were copied: a sequence may come in two parts."""

    def write(self, data: bytes) -> None:
        """Copy some bytes."""
        for piece in _PIECES.findall(data):
            if not self._is_open:
                self._held += piece
                self._decide()
            elif not self._is_hidden:
                self._copy(piece)
            if piece.endswith(b"\n") or (piece.endswith(b"\r") and not self._is_hidden):
                self._release()
                self._is_open = self._is_hidden = False

    def close(self) -> None:
        """Show what is held, and the cursor, which a progress bar hides and a killed one leaves hidden."""
        self._release()
        if self.hides_cursor:
            self._emit(_SHOW_CURSOR + b"\r\n")

    def _decide(self) -> None:
        """Show or hide the line as soon as its first characters tell."""
        begin = ESCAPES.sub("", self._held.decode(errors="replace")).strip("\r\n")
        marks = (*self.rules.hidden, *self.rules.last)
        if _PARTIAL_ESCAPE.search(begin):
            return
        if begin and not begin.startswith(marks) and any(mark.startswith(begin) for mark in marks):
            return
        self._is_open = bool(begin)
        self._is_hidden = begin.startswith(marks)
        self.is_ended = self.is_ended or begin.startswith(self.rules.last)
        if not self._is_hidden:
            self._release()
        self._held = b""

    def _release(self) -> None:
        self._copy(self._held)
        self._held = b""

    def _copy(self, data: bytes) -> None:
        if data and not self.is_ended:
            self._emit(data)
            seen = self._tail + data
            shown, hid = seen.rfind(_SHOW_CURSOR), seen.rfind(_HIDE_CURSOR)
            self.hides_cursor = hid > shown or (self.hides_cursor and shown < 0)
            self._tail = seen[1 - len(_SHOW_CURSOR) :]

    def _emit(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.descriptor, data)
