"""The commit of the files that release commands write below release/NAME, and of no other."""

import re

from sacpipe.core.files import sha256_bytes
from sacpipe.release.history import History, release_folder, remove_leftovers
from sacpipe.release.history_text import events
from sacpipe.release.world import World

_OWN = re.compile(r"/(history|versions)/\d{6,}-[0-9a-f]{12}\.json$|/verdicts/[0-9a-f]{64}\.json$")


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
