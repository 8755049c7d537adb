"""The bars that a robot has noted: what its source barred acts neither offline nor after a restart.

A bar is an operator's word, and the same word may lift it. That a bundle is bad is the robot's own
experience, and no registry lifts it. So the bars have a file of their own beside current.json, and a torn
current.json does not lose them. docs/robot-store.md describes the file.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from sacpipe.bundle.contract import Sha256
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError
from sacpipe.core.files import read_regular_file, write_json
from sacpipe.core.logging import escape_unprintable

_FORMAT_VERSION: Literal[1] = 1
_MAX_CHARS = 300


class _BarsFile(Config):
    """Content of barred.json."""

    format_version: Literal[1]
    barred: dict[Sha256, str]
    """Digest to who barred the bundle, when and why."""


class NotedBars:
    """The bars of one store. One thread at a time changes them.

    Args:
        path: The file; nothing is barred where there is none.

    Raises:
        BundleError: it has another version or content, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.barred: dict[str, str] = {}
        """Digest to who barred the bundle, when and why. Replaced as a whole: any thread may read it."""
        self.notices: tuple[str, ...] = ()
        """What the operator should know about the file."""
        try:
            data = read_regular_file(path)
        except FileNotFoundError:
            data = b""
        except OSError as exc:
            raise _refuse(path, str(exc)) from exc
        else:
            if _is_torn(data):
                self.notices = (f"{path} was empty or torn. The source is asked again for what is barred.",)
            else:
                self.barred = _parse(path, data)
        self._written = self.barred

    @property
    def is_written(self) -> bool:
        """Whether the file has the present bars."""
        return self.barred == self._written

    def note(self, found: Mapping[str, str], held: Collection[str]) -> None:
        """Note an answer of the source. The file is not written yet.

        Args:
            found: As `Source.bars` returns it: a text bars a bundle, an empty one lifts its bar.
            held: Digests of the robot's bundles. Bars of others are dropped: they come from the source alone.
        """
        texts = self.barred | {digest: _short(text) for digest, text in found.items()}
        self.barred = {digest: text for digest, text in texts.items() if text and digest in held}

    def write(self) -> None:
        """Write the file.

        Raises:
            StorageError: it cannot be written; the bars hold until the process ends.
        """
        barred = self.barred
        write_json(self._path, _BarsFile(format_version=_FORMAT_VERSION, barred=barred).as_tree())
        self._written = barred


def _short(text: str) -> str:
    """Return a text of a registry as one line that JSON can hold; empty only where the text is."""
    line = escape_unprintable(" ".join(text.split()))[:_MAX_CHARS]
    return line or ("without a reason" if text else "")


def _is_torn(data: bytes) -> bool:
    try:
        return not isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return True


def _parse(path: Path, data: bytes) -> dict[str, str]:
    try:
        return _BarsFile.model_validate_json(data).barred
    except ValidationError as exc:
        raise _refuse(path, str(exc)) from exc


def _refuse(path: Path, found: str) -> BundleError:
    return BundleError(
        f"{path}: expected what docs/robot-store.md describes, found {found}. "
        "Move the file away: the source is asked again for what is barred.",
        "store",
    )
