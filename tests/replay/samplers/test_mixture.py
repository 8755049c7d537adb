"""A batch of two buffers: how many rows of each, which ones, and at no cost where there is one buffer only."""

import dataclasses

import numpy as np
import pytest
from pool_fixtures import NUMBERED_SPEC, numbered

from sacpipe.core.errors import CheckpointError
from sacpipe.core.seeding import generator
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.config import InitialPoolConfig
from sacpipe.replay.samplers.mixture import Mixture, Source
from sacpipe.replay.samplers.uniform import Uniform, UniformConfig
from sacpipe.replay.view import BufferView
from sacpipe.specs.records import Batch, FloatArray


def uniform() -> Uniform:
    return UniformConfig.example().build(NUMBERED_SPEC, 0.5)


def filled(first: int, count: int, capacity: int = 100) -> ReplayBuffer:
    buffer = ReplayBuffer(NUMBERED_SPEC, capacity)
    for number in range(first, first + count):
        buffer.add(numbered(number, terminated=number % 2 == 1))
    return buffer


def source(name: str, buffer: ReplayBuffer, transitions: int) -> Source:
    return Source(name, name, buffer.view(), uniform(), transitions)


def mixture() -> Mixture:
    return Mixture(
        [source("the initial pool", filled(50, 20), 3), source("this run's pool", filled(0, 20), 5)]
    )


def test_each_source_gives_its_rows_in_its_place() -> None:
    mixed, random = mixture(), generator(0, "draws")
    for _ in range(20):
        batch = mixed.sample(random)
        numbers = batch.observations["state"][:, 0]
        assert len(numbers) == 8
        assert numbers[:3].min() >= 50 > numbers[3:].max()
        np.testing.assert_array_equal(batch.actions, np.repeat(-numbers[:, None], 2, axis=1))
        np.testing.assert_array_equal(batch.rewards, numbers * 10)
        np.testing.assert_array_equal(
            batch.next_observations["state"], np.repeat(numbers[:, None] + 1, 3, axis=1)
        )
        np.testing.assert_array_equal(batch.discounts, 0.5 * (1 - numbers % 2))


def test_one_source_gives_the_batches_of_its_sampler() -> None:
    alone, draws = filled(0, 20).view(), [generator(0, "draws"), generator(0, "draws")]
    mixed = Mixture([source("this run's pool", filled(0, 20), 8)])
    first = mixed.sample(draws[0])
    expected = uniform()(alone, draws[1], 8)
    assert first.observations.equals(expected.observations)
    np.testing.assert_array_equal(first.rewards, expected.rewards)
    assert mixed.sample(draws[0]) is first


def test_a_row_is_traced_to_its_transition_and_pool() -> None:
    mixed = mixture()
    rewards = mixed.sample(generator(0, "draws")).rewards
    assert mixed.origin(2) == f"transition {rewards[2] / 10 - 50:.0f} of the initial pool"
    assert mixed.origin(3) == f"transition {rewards[3] / 10:.0f} of this run's pool"
    assert mixed.origin(7) == f"transition {rewards[7] / 10:.0f} of this run's pool"


def test_a_row_that_no_pool_holds_is_traced_to_its_pool() -> None:
    mixed = mixture()
    mixed.sample(generator(0, "draws")).actions[0] = 0.25
    assert mixed.origin(0) == "a transition of the initial pool"


def test_an_empty_buffer_is_refused_by_name() -> None:
    empty = source("this run's pool", ReplayBuffer(NUMBERED_SPEC, 4), 5)
    for sources in ([empty], [source("the initial pool", filled(0, 3), 3), empty]):
        with pytest.raises(ValueError, match=r"empty replay buffer: this run's pool"):
            Mixture(sources).sample(generator(0, "draws"))


@pytest.mark.parametrize(
    ("share", "batch_size", "drawn"), [(0.5, 256, 128), (0.3, 8, 2), (0.001, 64, 1), (1.0, 64, 64)]
)
def test_a_share_is_rounded_and_never_nothing(share: float, batch_size: int, drawn: int) -> None:
    assert InitialPoolConfig(sha256="0" * 64, share=share).drawn(batch_size) == drawn


class Weighing:
    """Draws as `uniform` with weights of 0.5, and keeps what it receives."""

    def __init__(self) -> None:
        self._uniform = uniform()
        self.received = np.zeros(0, dtype=np.float32)

    def __call__(self, view: BufferView, random: np.random.Generator, n: int) -> Batch:
        batch = self._uniform(view, random, n)
        return dataclasses.replace(batch, weights=np.full(n, 0.5, dtype=np.float32))

    def receive(self, td_errors: FloatArray) -> None:
        self.received = td_errors.copy()

    def state(self) -> dict[str, np.ndarray]:
        return {"received": self.received.copy()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        self.received = state["received"]


def test_rows_of_a_source_without_weights_have_the_weight_1() -> None:
    weighing = Weighing()
    mixed = Mixture(
        [
            source("the initial pool", filled(50, 20), 3),
            Source("own", "this run's pool", filled(0, 20).view(), weighing, 5),
        ]
    )
    batch = mixed.sample(generator(0, "draws"))
    np.testing.assert_array_equal(batch.weights, [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert mixed.sample(generator(0, "draws")) is batch


def test_each_sampler_receives_the_errors_of_its_rows_and_keeps_its_state() -> None:
    samplers = Weighing(), Weighing()
    view = filled(0, 9).view()
    mixed = Mixture([Source("ab"[k], "a pool", view, one, 2 + k) for k, one in enumerate(samplers)])
    assert mixed.is_guided
    mixed.receive(np.arange(5, dtype=np.float32))
    assert [one.received.tolist() for one in samplers] == [[0, 1], [2, 3, 4]]
    state = mixed.state()
    assert {name: array.tolist() for name, array in state.items()} == {
        "a/received": [0, 1],
        "b/received": [2, 3, 4],
    }
    for one in samplers:
        one.received = np.zeros(0)
    mixed.load_state(state)
    assert [one.received.tolist() for one in samplers] == [[0, 1], [2, 3, 4]]
    mixed.load_state({"b/received": np.ones(1), "c/received": np.ones(2)})  # with other sources than before
    assert [one.received.tolist() for one in samplers] == [[0, 1], [1]]


def test_samplers_without_a_state_have_none() -> None:
    mixed = mixture()
    assert (mixed.is_guided, mixed.relabelling, mixed.state()) == (False, None, {})
    with pytest.raises(CheckpointError, match="expected no state of the sampler"):
        mixed.load_state({"this run's pool/priorities": np.zeros(2)})
