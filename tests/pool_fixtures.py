"""A small task and a walk through it: episodes that terminate, are truncated, both, or are cut by the end."""

import contextlib
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from factories import make_spec
from folder_digest import sha256_tree

from sacpipe.replay.pool.config import PoolFormat, ReplayConfig
from sacpipe.replay.pool.transitions import Transitions, record_dtype
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

ENDS = ((True, False), (False, True), (True, True))


def append(writer: PoolWriter, transitions: list[Transition]) -> None:
    for transition in transitions:
        writer.append(transition)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def straight(folder: Path, spec: EnvSpec, config: ReplayConfig, transitions: list[Transition]) -> str:
    """Digest of the pool written without any flush or kill."""
    writer = PoolWriter.create(folder, spec, config)
    append(writer, transitions)
    writer.finish()
    return sha256_tree(folder)


@pytest.fixture(scope="session")
def spec() -> EnvSpec:
    return make_spec(task="toy/walk", control_period_s=0.05, max_episode_steps=7)


@pytest.fixture(scope="session")
def make_config() -> Callable[..., ReplayConfig]:
    def make(segment_transitions: int = 4, form: PoolFormat = "full", capacity: int = 1000) -> ReplayConfig:
        return ReplayConfig(
            capacity=capacity, segment_transitions=segment_transitions, format=form, initial_pool=None
        )

    return make


@pytest.fixture(scope="session")
def walk(spec: EnvSpec) -> Callable[..., list[Transition]]:
    def make(count: int, seed: int = 0) -> list[Transition]:
        generator = np.random.Generator(np.random.PCG64(seed))
        transitions: list[Transition] = []
        episode, left, observation = 0, 3, generator.standard_normal(spec.observation_dim, dtype=np.float32)
        for _ in range(count):
            following = generator.standard_normal(spec.observation_dim, dtype=np.float32)
            action = generator.uniform(-1, 1, spec.action_dim).astype(np.float32)
            left -= 1
            terminated, truncated = ENDS[episode % 3] if left == 0 else (False, False)
            reward = float(generator.standard_normal(dtype=np.float32))
            transitions.append(
                Transition(observation, action, reward, following, terminated, truncated, episode)
            )
            observation = following
            if left == 0:
                episode, left = episode + 1, int(generator.integers(1, 8))
                observation = generator.standard_normal(spec.observation_dim, dtype=np.float32)
        return transitions

    return make


@pytest.fixture(scope="session")
def stack(spec: EnvSpec) -> Callable[[list[Transition]], Transitions]:
    def make(transitions: list[Transition]) -> Transitions:
        return Transitions.of_records(np.array([tuple(t) for t in transitions], dtype=record_dtype(spec)))

    return make


@pytest.fixture
def write(tmp_path: Path, spec: EnvSpec, make_config: Callable[..., ReplayConfig]) -> Callable[..., Path]:
    def make(transitions: list[Transition], form: str = "full", size: int = 4, name: str = "pool") -> Path:
        writer = PoolWriter.create(tmp_path / name, spec, make_config(size, form))
        for transition in transitions:
            writer.append(transition)
        writer.finish()
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def file_size_limit() -> Callable[[int], AbstractContextManager[None]]:
    """Refuse writes past a size with EFBIG, as a full disk refuses them with ENOSPC."""

    @contextlib.contextmanager
    def limit(size_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


def numbered(number: int, *, terminated: bool = False, truncated: bool = False) -> Transition:
    """A transition whose every field is made of one number."""
    return Transition(
        observation=np.full(3, number, dtype=np.float32),
        action=np.full(2, -number, dtype=np.float32),
        reward=10.0 * number,
        next_observation=np.full(3, number + 1, dtype=np.float32),
        terminated=terminated,
        truncated=truncated,
        episode_id=0,
    )
