"""The pool a run begins with is the one that params.yaml names, or the run does not begin."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.replay.pool.config import InitialPoolConfig
from sacpipe.replay.pool.initial_pool import open_initial_pool
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

Walk = Callable[..., list[Transition]]


def named(folder: Path) -> InitialPoolConfig:
    return InitialPoolConfig(sha256=sha256_file(folder / "manifest.json"), share=0.5)


@pytest.fixture
def folder(write: Callable[..., Path], walk: Walk) -> Path:
    return write(walk(10))


def test_the_named_pool_of_the_same_task_is_opened(folder: Path, spec: EnvSpec) -> None:
    assert open_initial_pool(folder, named(folder), spec).transitions == 10
    other_limit = spec.replace(max_episode_steps=None)
    assert open_initial_pool(folder, named(folder), other_limit).transitions == 10


def test_a_pool_that_is_not_there_is_asked_for(folder: Path, spec: EnvSpec) -> None:
    config = named(folder)
    shutil.rmtree(folder)
    with pytest.raises(
        ConfigError,
        match=r"replay\.initial_pool: expected a replay pool in .*/pool, found none\. `dvc pull data/pool\.dvc` "
        r".*`sacpipe pool ingest`",
    ):
        open_initial_pool(folder, config, spec)


def test_another_pool_is_refused_with_both_digests(folder: Path, spec: EnvSpec) -> None:
    found = sha256_file(folder / "manifest.json")
    with pytest.raises(
        ConfigError,
        match=rf"replay\.initial_pool\.sha256: expected the pool {'0' * 64}, found the pool {found} in ",
    ):
        open_initial_pool(folder, InitialPoolConfig(sha256="0" * 64, share=0.5), spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "toy/run"}, "task: expected toy/run, found toy/walk"),
        ({"control_period_s": 0.1}, r"control_period_s: expected 0\.1, found 0\.05"),
        ({"high": 2.0}, r"action\.1\.high: expected 2\.0, found 1\.0"),
        ({"name": "speed"}, r"observation\.0\.name: expected speed, found state"),
        ({"more": True}, r"action: expected \[.*\], found \[.*\]"),
    ],
)
def test_a_pool_of_another_task_is_refused_with_the_difference(
    folder: Path, spec: EnvSpec, changes: dict[str, object], message: str
) -> None:
    tree = spec.as_tree()
    if "high" in changes:
        tree["action"][1]["high"] = changes["high"]
    elif "name" in changes:
        tree["observation"][0]["name"] = changes["name"]
    elif "more" in changes:
        tree["action"].append(tree["action"][0] | {"name": "motor_2"})
    else:
        tree |= changes
    with pytest.raises(
        ConfigError, match=rf"recorded on another task than this run's: {message}\. `dvc pull"
    ):
        open_initial_pool(folder, named(folder), EnvSpec.parse(tree))


def test_a_pool_without_transitions_is_refused(write: Callable[..., Path], spec: EnvSpec) -> None:
    folder = write([])
    with pytest.raises(ConfigError, match="expected transitions in .*, found none"):
        open_initial_pool(folder, named(folder), spec)
