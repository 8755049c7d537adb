"""Starts a run from a copy of a finished run's files, to continue with more steps."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sacpipe.core.errors import CheckpointError
from sacpipe.core.files import (
    canonical_json,
    copy_file,
    make_folder,
    sha256_bytes,
    storage_errors,
    sync_folder,
    write_bytes,
)
from sacpipe.training.checkpoint import SAMPLER_PREFIX, intact_checkpoints, write_checkpoint
from sacpipe.training.samplers import INITIAL_POOL

_MAY_CHANGE = (
    "training.total_steps",
    "training.stop_at_return",
    "training.extends",
    "training.environment_processes",
    "replay.initial_pool",
)
"""Key paths at which a run may differ from the one it extends."""
_POOL_DIGEST = "replay.initial_pool.sha256"
"""Key path that names an initial pool: what a sampler knows of a pool is of no use for another."""


def adopt_finished_run(
    base: Path, base_key: str, folder: Path, stage_key: str, params: dict[str, Any]
) -> None:
    """Copy the files of a finished run into a new run, which continues with more steps.

    The checkpoint is written last: after an interruption before that, the same call starts over.

    Args:
        base: Folder of the finished run; nothing in it is changed.
        base_key: Its stage key.
        folder: Of the new run.
        stage_key: The new run's key.
        params: The new run's; see `unextendable` for what may differ.

    Raises:
        CheckpointError: `base` holds no finished run of that key, or another param differs.
        StorageError: the folder cannot be written.
    """
    found = next(intact_checkpoints(base / "checkpoints", base_key), None)
    if found is None:
        raise CheckpointError(
            f"training.extends names the run {base_key[:12]}, but {base} holds no checkpoint of it. Run it "
            "first on this machine, or set training.extends to null to train from the first step."
        )
    digests = param_digests(params)
    differing = unextendable(found.state.params, digests)
    if differing:
        raise CheckpointError(
            f"the run {base_key[:12]} cannot be extended: {', '.join(differing)} differ from its params. "
            f"Only {changeable_keys()} may; set training.extends to null to train from the first step."
        )
    steps, wanted = found.state.env_steps, params["training"]["total_steps"]
    planned = found.state.total_steps
    is_finished = found.state.is_stopped or steps == planned
    if not is_finished or wanted <= steps:
        raise CheckpointError(
            f"the run {base_key[:12]} cannot be extended: it is at step {steps} of {planned}, and "
            f"training.total_steps is {wanted}; expected a finished run and more steps than it has."
        )
    _copy_files(base, folder)
    state = found.state.replace(stage_key=stage_key, params=digests, total_steps=wanted, is_stopped=False)
    arrays = dict(found.arrays)
    if found.state.params.get(_POOL_DIGEST) != digests.get(_POOL_DIGEST):
        of_pool = f"{SAMPLER_PREFIX}{INITIAL_POOL}/"
        arrays = {name: one for name, one in arrays.items() if not name.startswith(of_pool)}
    write_checkpoint(folder / "checkpoints", state, arrays)


def _copy_files(base: Path, folder: Path) -> None:
    """Copy pool and rows of a finished run; the pool's files keep their modes."""
    with storage_errors(folder):
        for name in ("pool", "checkpoints"):
            shutil.rmtree(folder / name, ignore_errors=True)
        make_folder(folder / "pool")
        for path in (base / "pool").iterdir():
            copy_file(path, folder / "pool" / path.name)
            shutil.copymode(path, folder / "pool" / path.name)
        sync_folder(folder / "pool")
        for name in ("metrics.jsonl", "curve.csv"):
            write_bytes(folder / name, (base / name).read_bytes())


def changeable_keys() -> str:
    """Return the key paths that a user may change, for a message; `--extend` writes another one itself."""
    *names, last = (name for name in _MAY_CHANGE if name != "training.extends")
    return f"{', '.join(names)} and {last}"


def unextendable(finished: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return the key paths, sorted, whose differing values forbid a run to continue from a finished one.

    Only what ends the run, where its simulators are, and the initial pool may differ.

    Args:
        finished: Of `param_digests`, as `wanted`.
        wanted: Of the run that is to continue.
    """
    paths = {path for path in finished.keys() | wanted.keys() if finished.get(path) != wanted.get(path)}
    return sorted(path for path in paths if not any(f"{path}.".startswith(f"{may}.") for may in _MAY_CHANGE))


def param_digests(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of every value of params by its key path, e.g. `algorithm.discount`.

    A checkpoint holds digests, so that `extend` can name what differs; a value may be an import path.
    """
    return {path: sha256_bytes(canonical_json(value).encode()) for path, value in _leaves(params, "")}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield key path and value of everything that is not a mapping with entries."""
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}".lstrip("."))
    else:
        yield path, value
