"""Stale path locks of DVC are removed: those whose process has ended.

DVC writes the process id of each reader and writer of a path into .dvc/tmp/rwlock, and keeps an entry as
long as a process with that id exists. After a kill, or in a restarted container where ids begin again,
another program may have the id, and the folder would stay locked. So an entry is removed here where its
process is not dvc; DVC itself removes an entry without a process.
Reference: dvc/rwlock.py of DVC 3.67.
"""

import json
from pathlib import Path
from typing import Any

from sacpipe.core.files import write_bytes


def remove_stale_locks(root: Path) -> None:
    """Remove the entries of .dvc/tmp/rwlock whose process is not a running dvc."""
    path = root / ".dvc" / "tmp" / "rwlock"
    try:
        locks: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept = {
            "write": {name: owner for name, owner in locks.get("write", {}).items() if _is_running(owner)},
            "read": {
                name: alive
                for name, owners in locks.get("read", {}).items()
                if (alive := [owner for owner in owners if _is_running(owner)])
            },
        }
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return  # there is no such file, or DVC itself reports the damage
    if any(kept[kind] != locks.get(kind, {}) for kind in kept):
        write_bytes(path, json.dumps(kept).encode())


def _is_running(owner: dict[str, Any]) -> bool:
    """Return whether the process that took a lock is a running dvc; True on a system without /proc."""
    if not Path("/proc/self").exists():
        return True
    try:
        return b"dvc" in Path(f"/proc/{int(owner['pid'])}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
    except (PermissionError, ProcessLookupError):
        return True
