"""Adds transitions to a finished pool: new segments after the existing ones; no segment is changed."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sacpipe.core.errors import PoolFormatError
from sacpipe.core.files import make_folder, remove_leftovers, storage_errors
from sacpipe.replay.pool.initial_pool import difference
from sacpipe.replay.pool.manifest import MANIFEST_NAME, PoolManifest, seal_segment
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.specs.env_spec import EnvSpec


def end_of(folder: Path, spec: EnvSpec | None = None) -> int:
    """Return the step of the next transition of a pool; 0 if there is no pool.

    Args:
        folder: Folder of the pool.
        spec: Task of the transitions to add, or None to skip the comparison.

    Raises:
        PoolFormatError: the pool has another task, or a version this program does not read.
        PoolCorruptError: the pool is damaged.
    """
    if not (folder / MANIFEST_NAME).exists():
        return 0
    pool = ReplayPool.open(folder)
    if spec is not None and pool.spec != spec:
        raise PoolFormatError(
            f"{folder}: expected a pool of the same task, found another: "
            f"{difference(spec.as_tree(), pool.spec.as_tree())}. Move the pool away, or add transitions of "
            "its own task."
        )
    return pool.segments[-1].first_step + pool.segments[-1].transitions if pool.segments else 0


def append_segments(folder: Path, spec: EnvSpec, parts: Iterable[Transitions]) -> ReplayPool:
    """Add one segment for each part after the pool's last segment; episode ids continue.

    The manifest is replaced last: until then, and after a kill, the pool is unchanged.

    Args:
        folder: Folder of the pool; a missing pool is made, with compact segments.
        spec: Task of the parts.
        parts: Transitions of each segment, at least one row; episode ids never fall from part to part.

    Raises:
        PoolFormatError: the pool has another task, or a version this program does not read.
        PoolCorruptError: the pool is damaged.
        StorageError: the disk is full or the folder cannot be written.
    """
    first_step, episodes = end_of(folder, spec), 0
    manifest = PoolManifest.describe(spec, "compact", ())
    if (folder / MANIFEST_NAME).exists():
        pool = ReplayPool.open(folder)
        manifest = pool.manifest
        if pool.segments:
            episodes = 1 + int(pool.read(pool.segments[-1]).episode_ids[-1])
    with storage_errors(folder):
        make_folder(folder)
    _remove_beyond(folder, manifest)
    sealed = list(manifest.segments)
    for part in parts:
        later = Transitions(**vars(part) | {"episode_ids": part.episode_ids + np.int64(episodes)})
        sealed.append(seal_segment(folder, later, first_step=first_step, form=manifest.format))
        first_step += len(part)
    PoolManifest.describe(spec, manifest.format, tuple(sealed)).write(folder)
    return ReplayPool.open(folder)


def _remove_beyond(folder: Path, manifest: PoolManifest) -> None:
    """Remove the segments of an interrupted call, after the pool's end; evicted segments stay."""
    last = max((entry.file for entry in manifest.segments), default="")
    with storage_errors(folder):
        remove_leftovers(folder)
        for path in folder.glob("segment-*.safetensors"):
            if path.name > last:
                path.unlink()
