"""Adding transitions to a pool that nobody is writing: new segments behind the others, no file changed."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sacpipe.core.errors import PoolFormatError
from sacpipe.core.records import EnvSpec
from sacpipe.replay.manifest import MANIFEST_NAME, PoolManifest
from sacpipe.replay.pool import ReplayPool
from sacpipe.replay.sealing import seal_segment
from sacpipe.replay.transitions import Transitions


def grow(folder: Path, spec: EnvSpec, parts: Iterable[Transitions]) -> ReplayPool:
    """Add a segment for each part behind what a pool holds, under episode ids that go on.

    The manifest is replaced last: until then, and after a kill, the pool is the one it was.

    Args:
        folder: Of the pool; made where there is none, with compact segments.
        spec: Of the task the parts come from.
        parts: Each with one row at least; their episode ids never fall from part to part.

    Raises:
        PoolFormatError: the pool is of another task, or of a version not known here.
        PoolCorruptError: the pool is damaged.
        StorageError: the disk is full or the folder cannot be written.
    """
    manifest, episodes = PoolManifest.describe(spec, "compact", ()), 0
    if (folder / MANIFEST_NAME).exists():
        pool = ReplayPool.open(folder)
        manifest = pool.manifest
        if pool.spec != spec:
            raise PoolFormatError(
                f"{folder}: expected a pool of {spec.task} with the same terms and bounds, found one of "
                f"{pool.spec.task} or of others. Move it away, or add to it what fits."
            )
        if pool.segments:
            episodes = 1 + int(pool.read(pool.segments[-1]).episode_ids[-1])
    sealed = list(manifest.segments)
    for part in parts:
        first_step = sealed[-1].first_step + sealed[-1].transitions if sealed else 0
        later = Transitions(**vars(part) | {"episode_ids": part.episode_ids + np.int64(episodes)})
        sealed.append(seal_segment(folder, later, first_step=first_step, form=manifest.format))
    PoolManifest.describe(spec, manifest.format, tuple(sealed)).write(folder)
    return ReplayPool.open(folder)
