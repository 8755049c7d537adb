"""Small tasks and a walk through them: episodes that terminate, are truncated, both, or are cut by the end.

Every test that takes `spec`, or a fixture that does, runs twice: with a vector alone, and with an image too.
"""

import contextlib
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from factories import make_spec
from folder_digest import sha256_tree

from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.config import PoolConfig, PoolFormat
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, stacked
from sacpipe.specs.records import Transition

ENDS = ((True, False), (False, True), (True, True))


def append(writer: PoolWriter, transitions: list[Transition]) -> None:
    for transition in transitions:
        writer.append(transition)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def straight(folder: Path, spec: EnvSpec, config: PoolConfig, transitions: list[Transition]) -> str:
    """Digest of the pool written without any flush or kill."""
    writer = PoolWriter.create(folder, spec, config)
    append(writer, transitions)
    writer.finish()
    return sha256_tree(folder)


CAMERA = {
    "name": "camera",
    "shape": (2, 3, 3),
    "dtype": "uint8",
    "unit": "1",
    "source": "renderer",
    "groups": ("policy", "critic"),
}
"""An image term."""
NUMBERED_SPEC = make_spec()
"""Task of `numbered` transitions."""


def with_camera(spec: EnvSpec) -> EnvSpec:
    """The same task with an image beside its terms."""
    return EnvSpec.parse(spec.as_tree() | {"observation": [*spec.as_tree()["observation"], CAMERA]})


@pytest.fixture(scope="session", params=["vectors", "images"])
def spec(request: pytest.FixtureRequest) -> EnvSpec:
    vectors = make_spec(task="toy/walk", control_period_s=0.05, max_episode_steps=7)
    return vectors if request.param == "vectors" else with_camera(vectors)


@pytest.fixture(scope="session")
def make_config() -> Callable[..., PoolConfig]:
    def make(segment_transitions: int = 4, form: PoolFormat = "full") -> PoolConfig:
        return PoolConfig(segment_transitions=segment_transitions, format=form)

    return make


@pytest.fixture(scope="session")
def walk(spec: EnvSpec) -> Callable[..., list[Transition]]:
    def make(count: int, seed: int = 0) -> list[Transition]:
        generator = np.random.Generator(np.random.PCG64(seed))
        transitions: list[Transition] = []
        episode, left, observation = 0, 3, random_observation(spec, generator)
        for _ in range(count):
            following = random_observation(spec, generator)
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
                observation = random_observation(spec, generator)
        return transitions

    return make


def random_observation(spec: EnvSpec, generator: np.random.Generator) -> Observation:
    """Normal numbers and evenly distributed pixels."""
    observation = spec.layout.empty()
    observation.vector[:] = generator.standard_normal(len(observation.vector), dtype=np.float32)
    pixels = np.random.Generator(
        np.random.PCG64(observation.vector.view(np.uint32))
    )  # leaves `generator` alone
    for image in observation.images.values():
        image[...] = pixels.integers(0, 256, image.shape)
    return observation


def of_steps(transitions: list[Transition]) -> Transitions:
    """Transitions as arrays."""
    columns = list(zip(*transitions, strict=True))
    observations, following = stacked(columns[0]), stacked(columns[3])
    actions, rewards, terminations, truncations = (
        np.array(columns[index], dtype=np.float32) for index in (1, 2, 4, 5)
    )
    ids = np.array(columns[6], dtype=np.int64)
    return Transitions(observations, actions, rewards, following, terminations, truncations, ids)


@pytest.fixture(scope="session")
def stack() -> Callable[[list[Transition]], Transitions]:
    return of_steps


@pytest.fixture
def write(tmp_path: Path, spec: EnvSpec, make_config: Callable[..., PoolConfig]) -> Callable[..., Path]:
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


def numbered(
    number: int, *, terminated: bool = False, truncated: bool = False, episode: int = 0
) -> Transition:
    """A transition of NUMBERED_SPEC whose every field is made of one number."""
    return Transition(
        observation=NUMBERED_SPEC.layout.pack({"state": np.full(3, number)}),
        action=np.full(2, -number, dtype=np.float32),
        reward=10.0 * number,
        next_observation=NUMBERED_SPEC.layout.pack({"state": np.full(3, number + 1)}),
        terminated=terminated,
        truncated=truncated,
        episode_id=episode,
    )


def contents(buffer: ReplayBuffer) -> list[bytes]:
    """All that a buffer holds: every field of every row, the episodes' ends and the transitions' numbers."""
    view = buffer.view()
    rows = np.arange(len(view))
    found = view.gather(rows)
    arrays = [found.actions, found.rewards, found.terminations, found.truncations]
    for observations in (found.observations, found.next_observations):
        arrays += [observations.vector, *observations.images.values()]
    places = (view.steps_to_end(rows), view.steps_since_start(rows), view.numbers(rows))
    return [array.tobytes() for array in (*arrays, *places)]
