"""Weights of earlier runs: those that a run begins with, and parts that its algorithm keeps.

A run begins with the policy of an earlier one, or with all that its checkpoint holds; optimisers, random
streams and counters are those of a new run. The folder, or a folder in it, has `policy.safetensors`, or a
checkpoint's `state.json` and `arrays.safetensors`. Params name each by the digest of the policy or of
state.json, so that the weights are part of the run's identity.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from sacpipe.algorithms.base import AlgorithmSection, Learner, NeedsWeights, TakesWeights, Weights, part_of
from sacpipe.core.errors import CheckpointError, ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.networks.policy_file import PolicyHeader, read_policy
from sacpipe.replay.pool.initial_pool import difference
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.training.checkpoint import LEARNER_PREFIX, STATE_FILE, read_checkpoint
from sacpipe.training.config import TrainParams, WarmStartConfig
from sacpipe.training.foreign_members import section_errors

_KEY = "training.warm_start"
_POLICY_FILE = "policy.safetensors"
_POLICY_PREFIX = "actor/"


def _remedy(key: str) -> str:
    """Return what to do where weights are missing, or are others than those that a key names."""
    without = f" `{key}: null` is without." if key == _KEY else ""
    return (
        "`dvc pull data/warm_start.dvc` restores the weights of this commit; a finished run has "
        f"out/train/{_POLICY_FILE}, and checkpoints in work/<stage key>/checkpoints.{without}"
    )


def read_weights(folder: Path, config: WarmStartConfig) -> Weights:
    """Read the weights that `training.warm_start` names.

    Raises:
        ConfigError: they are missing, have another digest or are damaged. The message has the key.
    """
    return find_weights(folder, config.sha256, _KEY)


def find_weights(folder: Path, sha256: str, key: str) -> Weights:
    """Read the weights that have a digest.

    Args:
        folder: Has the file, or folders that may have it.
        sha256: Of policy.safetensors, or of a checkpoint's state.json.
        key: Of params.yaml, for messages.

    Raises:
        ConfigError: they are missing, have another digest or are damaged. The message has the key.
    """
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    places = [place / name for place in (folder, *inner) for name in (_POLICY_FILE, STATE_FILE)]
    digests = {path: sha256_file(path) for path in places if path.is_file()}
    if not digests:
        raise ConfigError(
            f"{key}: expected {_POLICY_FILE}, or {STATE_FILE} and arrays.safetensors of a checkpoint, in "
            f"{folder} or a folder in it, found none. {_remedy(key)}"
        )
    found = next((path for path, digest in digests.items() if digest == sha256), None)
    if found is None:
        listed = ", ".join(f"{path.relative_to(folder)} {digest}" for path, digest in digests.items())
        raise ConfigError(
            f"{key.removesuffix('.sha256')}.sha256: expected {sha256}, found in {folder}: {listed}. If that "
            f"is the right file, write its digest. {_remedy(key)}"
        )
    try:
        return _read(found.parent, found.name)
    except CheckpointError as exc:
        raise ConfigError(f"{key}: {exc}") from exc


def needed_weights(algorithm: AlgorithmSection) -> Mapping[str, str]:
    """Return the digests of the parts of earlier runs that an algorithm keeps, by key in params.yaml."""
    if not hasattr(algorithm, "needed_weights"):
        return {}
    return cast("NeedsWeights", algorithm).needed_weights()


def give_weights(learner: Learner, algorithm: AlgorithmSection, folder: Path | None) -> None:
    """Copy the parts of earlier runs that an algorithm keeps into its new learner.

    Raises:
        ConfigError: some are missing, damaged or of another task, or the learner cannot take them.
    """
    for key, sha256 in needed_weights(algorithm).items():
        if folder is None:
            raise ConfigError(
                f"{key}: params name weights, but no folder was passed. Pass warm_start=FOLDER."
            )
        weights = find_weights(folder, sha256, key)
        require_same_task(weights, learner.policy().header.spec, key)
        cast("TakesWeights", learner).take_weights(key, weights)


def _read(folder: Path, name: str) -> Weights:
    if name == _POLICY_FILE:
        network, header = read_policy(folder / name)
        tensors = {f"{_POLICY_PREFIX}{key}": value.numpy() for key, value in network.state_dict().items()}
        return Weights(header, tensors, is_whole=False)
    state, arrays = read_checkpoint(folder)
    header = PolicyHeader.parse(state.policy, source=str(folder / name))
    return Weights(header, part_of(arrays, LEARNER_PREFIX), is_whole=True)


def require_same_task(weights: Weights, spec: EnvSpec, key: str = _KEY) -> None:
    """Refuse weights of another task; the time limit may differ, because no weight depends on it.

    Raises:
        ConfigError: another task; names the first difference.
    """
    expected = spec.policy_spec
    alike = weights.header.spec.replace(max_episode_steps=expected.max_episode_steps)
    _require_same("the task", expected.as_tree(), alike.as_tree(), key)


def copy_weights(learner: Learner, params: TrainParams, folder: Path | None) -> None:
    """Copy the weights that params name into a new learner, before an engine has it.

    Raises:
        ConfigError: they are missing, others than those that were named, or do not fit the learner.
        ValueError: `training.warm_start` names some, and no folder was passed.
    """
    config = params.training.warm_start
    if config is not None:
        if folder is None:
            raise ValueError("expected the folder of training.warm_start, found None")
        with section_errors("training.warm_start", config.parts):
            begin_with(learner, read_weights(folder, config), config)
    # After the warm start, whose policy or critics may have such parts of another run.
    with section_errors("algorithm", params.algorithm.name):
        give_weights(learner, params.algorithm, folder)


def begin_with(learner: Learner, weights: Weights, config: WarmStartConfig) -> None:
    """Copy weights into a new learner, before an engine has it.

    Raises:
        ConfigError: they are of another task, policy kind, network or, for all parts, algorithm; or the
            learner cannot begin with other weights.
    """
    header, own = weights.header, learner.policy().header
    require_same_task(weights, own.spec)
    _require_same("the policy kind", own.kind, header.kind)
    _require_same("the policy's network", own.network, header.network)
    begin = getattr(learner, "begin_with", None)
    if begin is None:
        raise ConfigError(
            f"{_KEY}: the algorithm '{own.algorithm}' cannot begin with other weights, because its learner "
            f"has no method `begin_with`. Set {_KEY} to null."
        )
    chosen = weights.arrays
    if config.parts == "all":
        if not weights.is_whole:
            raise ConfigError(
                f"{_KEY}.parts: {_POLICY_FILE} has the policy alone, found `all`. Use `policy`, or a "
                "checkpoint."
            )
        _require_same("the algorithm", own.algorithm, header.algorithm)
    else:
        chosen = {name: array for name, array in chosen.items() if name.startswith(_POLICY_PREFIX)}
    try:
        begin(chosen)
    except CheckpointError as exc:
        raise ConfigError(f"{_KEY}: {exc}") from exc


def _require_same(what: str, expected: object, found: object, key: str = _KEY) -> None:
    if expected != found:
        first = difference(expected, found) or ""
        raise ConfigError(
            f"{key}: the weights differ from this run in {what}: {first.lstrip(': ')}. Name weights that "
            "have the same, or change the params to it."
        )
