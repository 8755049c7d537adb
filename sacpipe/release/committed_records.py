"""The commit of the files that release commands write below release/NAME, and what git has of them."""

import re
import shlex

from sacpipe.core.errors import ReleaseError, StoreError
from sacpipe.core.files import sha256_bytes
from sacpipe.release.history import History, release_folder, remove_leftovers
from sacpipe.release.history_text import events
from sacpipe.release.world import Git, World

_KEPT = re.compile(r"/(history/\d{6,}-[0-9a-f]{12}|verdicts/[0-9a-f]{64})\.json$")
_OWN = re.compile(r"/(history|versions)/\d{6,}-[0-9a-f]{12}\.json$|/verdicts/[0-9a-f]{64}\.json$")


def require_whole(git: Git, folder: str = "release") -> None:
    """Check that every record and verdict that git holds is on the disk; without git nothing says so.

    A history whose newest records are gone looks like that of a clone that is behind, or like an older one.

    Args:
        git: The repository.
        folder: `release/NAME` of a policy; by default, those of all policies.

    Raises:
        ReleaseError: a file is missing, or a verdict was edited.
    """
    try:
        lost = [path for path in git.lost(folder) if _KEPT.search(path)]
    except StoreError:
        return
    if lost:
        folders = " ".join(sorted({shlex.quote(path.rpartition("/")[0]) for path in lost}))
        raise ReleaseError(
            f"{', '.join(lost)}: expected as git holds it, found it missing or edited. Nothing is released "
            f"on a damaged history. `git checkout HEAD -- {folders}` restores it; `git status {folder}` "
            "shows what changed."
        )


def commit_records(world: World, history: History) -> str | None:
    """Commit the new files of a policy; git restores one that a power cut took or tore.

    Returns:
        A line about the commit; None where there was nothing to commit.

    Raises:
        StoreError: git failed.
    """
    folder = release_folder(history.model)
    remove_leftovers(world.disk, folder)
    paths = [path for path in world.git.uncommitted(folder) if _is_own(world, path)]
    if not paths:
        return None
    newest = events(history)[:1]
    what = f": {newest[0].what}, records {newest[0].numbers}" if newest else ""
    return world.git.commit(paths, f"Release of {history.model}{what}")


def _is_own(world: World, path: str) -> bool:
    """Return whether a release command wrote a file. Records were verified before."""
    data = world.disk.read(path) if _OWN.search(path) else None
    return data is not None and ("/verdicts/" not in path or f"/{sha256_bytes(data)}.json" in path)
