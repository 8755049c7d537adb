"""Evict the oldest segments of a replay pool, so that the disk of a long run stays bounded.

The manifest is replaced first, then the segment files that it no longer names are deleted, then DVC tracks
the folder again. After a kill between these steps the pool is complete, and the same call does the rest.
"""

from pathlib import Path

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import remove_leftovers, sha256_file, storage_errors, sync_folder
from sacpipe.project.dvc.commands import DvcStore
from sacpipe.project.dvc.graph import graph_outputs
from sacpipe.project.workspace import Workspace
from sacpipe.replay.pool.manifest import MANIFEST_NAME
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.robot.recording.format import HEADER_NAME


class Eviction(Config):
    """Result of one eviction."""

    pool_sha256: str
    """SHA-256 of the pool's manifest, for `replay.initial_pool.sha256`."""
    pool_transitions: int
    """Transitions that the pool holds now."""
    pool_segments: int
    """Segments that the pool holds now."""
    evicted_transitions: int
    """Transitions removed by this call."""
    evicted_segments: int
    """Segments removed by this call."""


def evict(workspace: Workspace, folder: Path, *, keep_transitions: int) -> Eviction:
    """Remove the oldest whole segments of a pool while at least `keep_transitions` remain.

    DVC tracks the workspace's `data/pool` again. A pool with fewer transitions is not changed. In
    data/ingested.json the evicted recordings stay, so that they are not ingested again.

    Args:
        workspace: The project; the caller holds its lock.
        folder: Folder of the pool.
        keep_transitions: Number of transitions to keep, at least 1.

    Raises:
        ConfigError: `keep_transitions` is below 1, or the pool is an output of a stage, the working pool of a
            run, or a part of a recording.
        PoolError: the pool is missing, damaged, or of another version.
        StorageError: the folder cannot be written.
        StoreError: DVC failed; the same call may be repeated.
    """
    if keep_transitions < 1:
        raise ConfigError(f"--keep-transitions: expected at least 1, found {keep_transitions}.")
    _refuse_pool_of_others(workspace, folder.resolve())
    before = ReplayPool.open(folder)
    after = before
    if before.transitions >= keep_transitions:
        after = evict_segments(folder, keep_transitions)
        if folder.resolve() == workspace.initial_pool.resolve():
            DvcStore(workspace.root).add(workspace.initial_pool)
    return Eviction(
        pool_sha256=sha256_file(folder / MANIFEST_NAME),
        pool_transitions=after.transitions,
        pool_segments=len(after.segments),
        evicted_transitions=before.transitions - after.transitions,
        evicted_segments=len(before.segments) - len(after.segments),
    )


def evict_segments(folder: Path, keep_transitions: int) -> ReplayPool:
    """Take the oldest segments out of the manifest, then delete the files of all evicted segments.

    The files include those of an earlier eviction that was killed.

    Raises:
        PoolError: the pool is missing, damaged, or of another version.
        StorageError: the folder cannot be written.
    """
    pool = ReplayPool.open(folder)
    if pool.transitions - pool.segments[0].transitions >= keep_transitions:
        pool = pool.evict(keep_transitions=keep_transitions)
    first = _order(pool.segments[0].file)
    with storage_errors(folder):
        remove_leftovers(folder)
        for path in sorted(folder.glob("segment-*.safetensors")):
            if _order(path.name) < first:
                path.unlink()
        sync_folder(folder)
    return pool


def _order(segment: str) -> tuple[int, str]:
    """Return the key that sorts names of segments by first step: ten digits, more for later steps."""
    return len(segment), segment


def _refuse_pool_of_others(workspace: Workspace, folder: Path) -> None:
    """Refuse a pool whose digest or segments other files depend on."""
    for stage, outputs in graph_outputs(workspace.dvc_yaml).items():
        for path in ((workspace.root / name).resolve() for name in outputs):
            if path in (folder, *folder.parents):
                raise ConfigError(
                    f"{folder} is an output of the stage '{stage}', and dvc.lock holds its digest. Copy the "
                    f"pool to {workspace.initial_pool} and evict from the copy."
                )
    if workspace.work("any").resolve().parent in folder.parents:
        raise ConfigError(
            f"{folder} is the working pool of a run, and the run's checkpoint needs every segment. Delete "
            "the run's whole folder if no run will continue or extend it."
        )
    if (folder.parent / HEADER_NAME).is_file():
        raise ConfigError(
            f"{folder} is a part of the recording {folder.parent}, which holds its digest. Ingest the "
            "recording with `sacpipe pool ingest`, and evict from data/pool."
        )
