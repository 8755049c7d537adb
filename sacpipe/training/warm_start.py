"""Begins a run with the weights of an earlier one: its policy, or all that its checkpoint holds.

The folder has `policy.safetensors`, or a checkpoint's `state.json` and `arrays.safetensors`. Params name it
by the digest of the policy or of state.json, so that the weights are part of the run's identity. Optimisers,
random streams and counters are those of a new run.
"""

from pathlib import Path
from typing import NamedTuple

from sacpipe.algorithms.base import Arrays, Learner
from sacpipe.core.errors import CheckpointError, ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.networks.policy_file import PolicyHeader, read_policy
from sacpipe.replay.pool.initial_pool import difference
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.training.checkpoint import LEARNER_PREFIX, STATE_FILE, read_checkpoint
from sacpipe.training.config import WarmStartConfig

_KEY = "training.warm_start"
_POLICY_FILE = "policy.safetensors"
_POLICY_PREFIX = "actor/"
_REMEDY = (
    "`dvc pull data/warm_start.dvc` restores the weights of this commit; a finished run has "
    f"out/train/{_POLICY_FILE}, and checkpoints in work/<stage key>/checkpoints. `{_KEY}: null` is without."
)


class Weights(NamedTuple):
    """Weights of an earlier run."""

    header: PolicyHeader
    """Of its policy."""
    arrays: Arrays
    """By their names in `Learner.state()`; only those of the policy where the source is a policy file."""
    is_whole: bool
    """Whether the source is a checkpoint."""


def read_weights(folder: Path, config: WarmStartConfig) -> Weights:
    """Read the weights that params name.

    Raises:
        ConfigError: they are missing, have another digest or are damaged. The message has the key.
    """
    names = [name for name in (_POLICY_FILE, STATE_FILE) if (folder / name).is_file()]
    if not names:
        raise ConfigError(
            f"{_KEY}: expected {_POLICY_FILE}, or {STATE_FILE} and arrays.safetensors of a checkpoint, in "
            f"{folder}, found none. {_REMEDY}"
        )
    digests = {name: sha256_file(folder / name) for name in names}
    name = next((name for name in names if digests[name] == config.sha256), None)
    if name is None:
        found = ", ".join(f"{name} {digest}" for name, digest in digests.items())
        raise ConfigError(
            f"{_KEY}.sha256: expected {config.sha256}, found in {folder}: {found}. If that is the right "
            f"file, write its digest. {_REMEDY}"
        )
    try:
        return _read(folder, name)
    except CheckpointError as exc:
        raise ConfigError(f"{_KEY}: {exc}") from exc


def _read(folder: Path, name: str) -> Weights:
    if name == _POLICY_FILE:
        network, header = read_policy(folder / name)
        tensors = {f"{_POLICY_PREFIX}{key}": value.numpy() for key, value in network.state_dict().items()}
        return Weights(header, tensors, is_whole=False)
    state, arrays = read_checkpoint(folder)
    learner = {
        name.removeprefix(LEARNER_PREFIX): array
        for name, array in arrays.items()
        if name.startswith(LEARNER_PREFIX)
    }
    return Weights(PolicyHeader.parse(state.policy, source=str(folder / name)), learner, is_whole=True)


def require_same_task(weights: Weights, spec: EnvSpec) -> None:
    """Refuse weights of another task; the time limit may differ, because no weight depends on it.

    Raises:
        ConfigError: another task; names the first difference.
    """
    expected = spec.policy_spec
    alike = weights.header.spec.replace(max_episode_steps=expected.max_episode_steps)
    _require_same("the task", expected.as_tree(), alike.as_tree())


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


def _require_same(what: str, expected: object, found: object) -> None:
    if expected != found:
        first = difference(expected, found) or ""
        raise ConfigError(
            f"{_KEY}: the weights differ from this run in {what}: {first.lstrip(': ')}. {_REMEDY}"
        )
