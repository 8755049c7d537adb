"""A folder in memory."""

import os
import shutil
from pathlib import Path


def memory() -> Path | None:
    """Return the machine's folder in memory, below which a private one is made; None where it has no room."""
    found = Path("/dev/shm")  # noqa: S108  (a private folder is made inside)
    return found if os.access(found, os.W_OK) and shutil.disk_usage(found).free >= 2**30 else None
