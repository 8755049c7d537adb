"""DVC's path locks, freed where their owner is gone.

Floor 2. DVC writes who reads and writes which path into .dvc/tmp/rwlock and trusts an entry while a
process of that number lives. After a kill, or in a restarted container where numbers begin again,
another program may own the number and the folder would stay locked for ever. An entry whose process
is not a dvc is dropped here, as DVC itself drops one without a process.
Reference: dvc/rwlock.py of DVC 3.67.
"""

import json
from pathlib import Path
from typing import Any

from sacpipe.core.files import write_bytes


def release_dead_locks(root: Path) -> None:
    """Drop the entries of .dvc/tmp/rwlock that no living dvc holds."""
    path = root / ".dvc" / "tmp" / "rwlock"
    try:
        locks: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept = {
            "write": {name: owner for name, owner in locks.get("write", {}).items() if _lives(owner)},
            "read": {
                name: alive
                for name, owners in locks.get("read", {}).items()
                if (alive := [owner for owner in owners if _lives(owner)])
            },
        }
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return  # none there, or one that DVC itself will complain about
    if any(kept[kind] != locks.get(kind, {}) for kind in kept):
        write_bytes(path, json.dumps(kept).encode())


def _lives(owner: dict[str, Any]) -> bool:
    """Return whether the process that took a lock is still a dvc; without /proc, DVC judges alone."""
    if not Path("/proc/self").exists():
        return True
    try:
        return b"dvc" in Path(f"/proc/{int(owner['pid'])}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
    except (PermissionError, ProcessLookupError):
        return True
