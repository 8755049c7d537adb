"""Opens a run's initial pool and checks it against the digest in params.yaml and the run's task."""

from pathlib import Path
from typing import Any

from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.replay.pool.config import InitialPoolConfig
from sacpipe.replay.pool.manifest import MANIFEST_NAME
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.specs.env_spec import EnvSpec

_KEY = "replay.initial_pool"
_REMEDY = (
    "`dvc pull data/pool.dvc` restores the pool of this commit, `sacpipe pool ingest` makes one from a "
    f"robot's recordings; `{_KEY}: null` starts without one."
)


def open_initial_pool(folder: Path, config: InitialPoolConfig, spec: EnvSpec) -> ReplayPool:
    """Open the pool that params.yaml names; no segment is read.

    The pool's time limit may differ from the run's, because no transition depends on it.

    Raises:
        ConfigError: the pool is missing, has another digest or another task, or is empty. The message has
            the key.
        PoolFormatError: the pool has a version this program does not read.
        PoolCorruptError: a segment is missing or incomplete.
    """
    manifest = folder / MANIFEST_NAME
    if not manifest.is_file():
        raise ConfigError(f"{_KEY}: expected a replay pool in {folder}, found none. {_REMEDY}")
    found = sha256_file(manifest)
    if found != config.sha256:
        raise ConfigError(
            f"{_KEY}.sha256: expected the pool {config.sha256}, found the pool {found} in {folder}. If that "
            f"pool is the right one, write its digest. {_REMEDY}"
        )
    pool = ReplayPool.open(folder)
    alike = pool.spec.replace(max_episode_steps=spec.max_episode_steps)
    if alike != spec:
        first = difference(spec.as_tree(), alike.as_tree())
        raise ConfigError(
            f"{_KEY}: {folder} was recorded on another task than this run's: {first}. {_REMEDY}"
        )
    if not pool.transitions:
        raise ConfigError(f"{_KEY}: expected transitions in {folder}, found none. {_REMEDY}")
    return pool


def difference(expected: Any, found: Any, path: str = "") -> str | None:
    """Return the first place where two trees differ, with both values; None if they are equal."""
    if expected == found:
        return None
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(expected, dict) and isinstance(found, dict):
        pairs = [(key, value, found.get(key)) for key, value in expected.items()]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = list(zip(range(len(expected)), expected, found, strict=True))
    inner = (difference(a, b, f"{path}.{key}".lstrip(".")) for key, a, b in pairs)
    return next(filter(None, inner), f"{path}: expected {expected}, found {found}")
