"""Types of arguments that name files: relative to the folder of the user, also after a command has moved."""

import contextlib
from pathlib import Path

_REGISTRY = "models:"
"""First characters of an address in the registry."""


def path_argument(text: str) -> Path:
    """Return the path of a file or folder: absolute, with its links as they are.

    A relative path stays relative where the current folder was deleted.
    """
    with contextlib.suppress(OSError):
        return Path(text).absolute()
    return Path(text)


def policy_argument(text: str) -> str:
    """Return the path of a policy or bundle as text, absolute; an address in the registry stays as it is."""
    return text if text.startswith(_REGISTRY) else str(path_argument(text))
