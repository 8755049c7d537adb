"""A folder in memory."""

import os
from pathlib import Path


def memory() -> Path | None:
    """Return the machine's folder in memory, below which a private one is made; None where there is none."""
    found = Path("/dev/shm")  # noqa: S108  (a private folder is made inside)
    return found if os.access(found, os.W_OK) else None
