"""Checkpoints: arrays and JSON, written atomically; the last two are kept. docs/checkpoint.md has the format.

A checkpoint is a folder `step-<env steps>`: `arrays.safetensors` and `state.json`, which holds the
SHA-256 of the arrays and of itself. It is written under a temporary name, synced and renamed. If a checkpoint
does not match its digests, the previous one is used.
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sacpipe.algorithms.base import Arrays
from sacpipe.core.config import Config
from sacpipe.core.errors import CheckpointError, ConfigError
from sacpipe.core.files import (
    canonical_json,
    read_json,
    sha256_bytes,
    storage_errors,
    sync_folder,
    write_bytes,
    write_json,
)
from sacpipe.networks.policy_file import Policy, encode_policy
from sacpipe.replay.pool.manifest import PoolPosition
from sacpipe.specs.metric import Reward, Steps

_KEPT_POLICY = "kept_policy"
"""Name of the array of a checkpoint with the bytes of the policy file."""


class KeptEvaluation(Config):
    """The best evaluation so far."""

    env_steps: Steps
    """Steps before it."""
    return_mean: Reward
    """Mean deterministic return of its episodes, in task units. As the best of several noisy means it is
    above what the policy returns in new episodes."""


class KeptPolicy:
    """Keeps the file of the policy with the best evaluation, if params ask for it.

    Args:
        keep: `best`, or `last` to keep nothing.
    """

    def __init__(self, keep: Literal["last", "best"]) -> None:
        self._is_wanted = keep == "best"
        self.evaluation: KeptEvaluation | None = None
        """Of the kept policy; None for none."""
        self.file: bytes | None = None
        """Bytes of its policy.safetensors."""

    def consider(self, env_steps: int, return_mean: float, policy: Callable[[], Policy]) -> None:
        """Keep the present policy if its evaluation is better than all before it.

        Args:
            env_steps: Steps so far.
            return_mean: Mean deterministic return of the evaluation.
            policy: Returns the policy that was evaluated.
        """
        best = self.evaluation
        if self._is_wanted and (best is None or return_mean > best.return_mean):
            self.file = encode_policy(policy())
            self.evaluation = KeptEvaluation(env_steps=env_steps, return_mean=return_mean)

    def arrays(self) -> Arrays:
        """Return what a checkpoint holds beside `evaluation`."""
        return {} if self.file is None else {_KEPT_POLICY: np.frombuffer(self.file, dtype=np.uint8)}

    def restore(self, evaluation: KeptEvaluation | None, arrays: Arrays) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointError: it has an evaluation without its policy.
        """
        if evaluation is not None and _KEPT_POLICY not in arrays:
            raise CheckpointError(
                f"checkpoint: expected the array {_KEPT_POLICY} of the kept policy, found none."
            )
        self.evaluation = evaluation
        self.file = None if evaluation is None else arrays[_KEPT_POLICY].tobytes()


_LOG = logging.getLogger(__name__)
_FORMAT_VERSION = 4
_KEPT = 2
_ARRAYS, STATE_FILE = "arrays.safetensors", "state.json"
LEARNER_PREFIX, SAMPLER_PREFIX, WAITING_PREFIX = "learner/", "sampler/", "waiting/"
"""Beginnings of names of arrays: of the learner, of samplers, and of transitions that wait for the pool."""
_OWN_DIGEST = "sha256"
"""Key in state.json: the digest of the canonical JSON of the rest."""


class RunState(Config):
    """The state of a run, except its arrays."""

    format_version: Literal[4]
    stage_key: str
    total_steps: int
    """`training.total_steps` of the run."""
    params: dict[str, str]
    """SHA-256 of the canonical JSON of every value of params.yaml that the run depends on, by key path."""
    determinism: Literal["exact", "statistical"]
    """Tier; `statistical` after a resume at which the simulator did not repeat the recorded episode."""
    policy: dict[str, Any]
    """Header of the policy: kind, network and task, so that another run can begin with the weights."""
    env_steps: int
    episodes: tuple[int, ...]
    """Number of the running episode of each environment; with the run's seed it names the episode's start."""
    acting_gradient_steps: int | None
    """Gradient steps of the policy that chose the actions of the next round; null if they are not chosen."""
    average_sums: dict[str, float]
    average_counts: dict[str, int]
    last_update: dict[str, float]
    """Description of the last update; empty before the first."""
    latest_returns: dict[str, float]
    """Mean return of the last evaluation, by policy mode."""
    is_stopped: bool
    """Whether the last evaluation reached `training.stop_at_return`."""
    kept: KeptEvaluation | None
    """Evaluation of the policy in the array `kept_policy`; None where the last policy is kept."""
    metrics_bytes: int
    curve_bytes: int
    pool: PoolPosition
    arrays_sha256: str


class Checkpoint(NamedTuple):
    """What a run continues from."""

    state: RunState
    arrays: Arrays


def write_checkpoint(folder: Path, state: RunState, arrays: Arrays) -> None:
    """Write one checkpoint and remove all but the last two; an identical one is not written again.

    Raises:
        StorageError: the disk is full or unwritable; earlier checkpoints stay.
    """
    target = folder / _folder_name(state.env_steps)
    temporary = folder / f".{target.name}.tmp"
    data = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    tree = state.replace(arrays_sha256=sha256_bytes(data)).as_tree()
    tree[_OWN_DIGEST] = sha256_bytes(canonical_json(tree).encode())
    with storage_errors(target):
        if not _folders(folder):
            _make_durable_folder(folder)
        if not _holds(target, tree, data):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write_bytes(temporary / _ARRAYS, data)
            write_json(temporary / STATE_FILE, tree)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
        sync_folder(folder)
        for old in _folders(folder)[:-_KEPT]:
            shutil.rmtree(old)


def discard_beyond(folder: Path, env_steps: int) -> None:
    """Remove checkpoints later than the one a run continues from, and incomplete ones that a kill left.

    Raises:
        StorageError: the folder cannot be written.
    """
    last = _folder_name(env_steps)
    with storage_errors(folder):
        for path in folder.glob(".step-*"):
            shutil.rmtree(path)
        for path in _folders(folder):
            if path.name > last:
                shutil.rmtree(path)


def _make_durable_folder(folder: Path) -> None:
    """Make the folder of the first checkpoint, and sync it with its three parents (run, stage key, `work`).

    Other code made the parents without syncing their names to the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for above in folder.parents[:3]:
        sync_folder(above)


def _holds(target: Path, tree: dict[str, Any], data: bytes) -> bool:
    """Return whether this checkpoint exists already: a run may be stopped just after it wrote one."""
    try:
        return (
            read_json(target / STATE_FILE, CheckpointError) == tree
            and (target / _ARRAYS).read_bytes() == data
        )
    except (CheckpointError, OSError):
        return False


def intact_checkpoints(folder: Path, stage_key: str) -> Iterator[Checkpoint]:
    """Yield the intact checkpoints of this run, newest first; torn ones are skipped.

    Raises:
        CheckpointError: the folder holds a checkpoint of another stage key or format.
    """
    for path in reversed(_folders(folder)):
        try:
            yield _read(path, stage_key)
        except _TornError as exc:
            _LOG.warning("checkpoint %s is torn (%s); using the one before it", path.name, exc)


class _TornError(Exception):
    """The checkpoint's bytes are not whole."""


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _folder_name(env_steps: int) -> str:
    return f"step-{env_steps:012d}"


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint of any run.

    Raises:
        CheckpointError: it is damaged, or has another format.
    """
    try:
        return _read(path, None)
    except _TornError as exc:
        raise CheckpointError(f"checkpoint {path} is damaged: {exc}.") from exc


def _read(path: Path, stage_key: str | None) -> Checkpoint:
    state = _read_state(path, stage_key)
    try:
        data = (path / _ARRAYS).read_bytes()
        if sha256_bytes(data) != state.arrays_sha256:
            raise _TornError(f"{_ARRAYS} differs from its digest")
        return Checkpoint(state, load(data))
    except (OSError, SafetensorError) as exc:
        raise _TornError(exc) from exc


def _read_state(path: Path, stage_key: str | None) -> RunState:
    try:
        tree = read_json(path / STATE_FILE, CheckpointError)
    except CheckpointError as exc:
        raise _TornError(exc) from exc
    expected = tree.pop(_OWN_DIGEST, None) if isinstance(tree, dict) else None
    if expected != sha256_bytes(canonical_json(tree).encode()):
        raise _TornError(f"{STATE_FILE} differs from its digest")
    if tree.get("format_version") != _FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format {tree.get('format_version')}; this program reads "
            f"{_FORMAT_VERSION}. Move {path.parent} away to start over."
        )
    try:
        state = RunState.parse(tree, source=str(path / STATE_FILE))
    except ConfigError as exc:
        raise CheckpointError(str(exc)) from exc
    if stage_key not in (None, state.stage_key):
        raise CheckpointError(
            f"checkpoint {path} belongs to stage key {state.stage_key[:12]}, expected {str(stage_key)[:12]}. "
            "A run cannot continue with other params or code."
        )
    return state
