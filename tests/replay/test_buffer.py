"""The ring: what it keeps, how it is sampled, what memory it takes."""

import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pool_fixtures import numbered

from sacpipe.core.seeding import generator
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.specs.records import Transition

Stack = Callable[[list[Transition]], Transitions]


def draws(buffer: ReplayBuffer, count: int = 64) -> list[bytes]:
    batch = buffer.sample(count, generator(0, "draws"))
    return [array.tobytes() for array in vars(batch).values()]


def test_full_ring_keeps_the_newest() -> None:
    buffer = ReplayBuffer(3, 2, capacity=3)
    for number in range(5):
        buffer.add(numbered(number))
    assert len(buffer) == 3
    assert set(buffer.sample(200, generator(0, "test")).rewards) == {20.0, 30.0, 40.0}


def test_fields_of_one_transition_stay_together() -> None:
    buffer = ReplayBuffer(3, 2, capacity=8)
    for number in range(8):
        buffer.add(numbered(number, terminated=number % 2 == 1))
    batch = buffer.sample(100, generator(1, "test"))
    numbers = batch.rewards / 10
    assert {array.dtype for array in vars(batch).values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(batch.observations, np.repeat(numbers[:, None], 3, axis=1))
    np.testing.assert_array_equal(batch.actions, np.repeat(-numbers[:, None], 2, axis=1))
    np.testing.assert_array_equal(batch.next_observations, np.repeat(numbers[:, None] + 1, 3, axis=1))
    np.testing.assert_array_equal(batch.terminations, numbers % 2)


def test_truncated_transition_is_no_termination() -> None:
    buffer = ReplayBuffer(3, 2, capacity=1)
    buffer.add(numbered(1, truncated=True))
    assert buffer.sample(1, generator(0, "test")).terminations == [0.0]


def test_every_transition_is_drawn_equally_often() -> None:
    buffer = ReplayBuffer(3, 2, capacity=20)
    for number in range(10):
        buffer.add(numbered(number))
    rewards = buffer.sample(100_000, generator(0, "test")).rewards
    counts = np.bincount((rewards / 10).astype(int), minlength=10)
    assert np.abs(counts - 10_000).max() < 4 * np.sqrt(100_000 * 0.1 * 0.9)  # four standard deviations


def test_draws_depend_on_the_given_generator_alone() -> None:
    buffer = ReplayBuffer(3, 2, capacity=50)
    for number in range(50):
        buffer.add(numbered(number))
    first, second = generator(3, "a"), generator(3, "a")
    sequence = [buffer.sample(5, first).rewards.tolist() for _ in range(3)]
    buffer.sample(5, generator(3, "b"))
    assert [buffer.sample(5, second).rewards.tolist() for _ in range(3)] == sequence


def test_fresh_batch_is_not_written_again() -> None:
    buffer = ReplayBuffer(3, 2, capacity=50)
    for number in range(50):
        buffer.add(numbered(number))
    batch = buffer.sample(5, generator(0, "a"))
    before = batch.rewards.copy()
    assert buffer.sample(5, generator(0, "b")).rewards.tolist() != before.tolist()
    np.testing.assert_array_equal(batch.rewards, before)


def test_given_batch_is_written_in_place() -> None:
    buffer = ReplayBuffer(3, 2, capacity=50)
    for number in range(50):
        buffer.add(numbered(number))
    batch = buffer.sample(5, generator(0, "a"))
    arrays = [id(array) for array in vars(batch).values()]
    again = buffer.sample(5, generator(0, "b"), out=batch)
    assert [id(array) for array in vars(again).values()] == arrays
    np.testing.assert_array_equal(batch.rewards, buffer.sample(5, generator(0, "b")).rewards)


def test_mistakes_in_code_are_refused(stack: Stack) -> None:
    buffer = ReplayBuffer(3, 2, capacity=4)
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(1, generator(0, "test"))
    with pytest.raises(ValueError, match=r"expected .*\(4, 2\), found \(3, 2\)"):
        ReplayBuffer(4, 2, capacity=4).extend(stack([numbered(0)]))
    buffer.add(numbered(0))
    for batch_size in (1, 3):
        with pytest.raises(ValueError, match=f"expected out to hold {batch_size} transitions, found 2"):
            buffer.sample(batch_size, generator(0, "test"), out=buffer.sample(2, generator(0, "test")))


@given(
    capacity=st.integers(1, 12),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4).filter(any),
)
def test_extending_and_loading_equal_adding_one_by_one(
    stack: Stack, capacity: int, lengths: list[int]
) -> None:
    one_by_one, extended, loaded = (ReplayBuffer(3, 2, capacity) for _ in range(3))
    parts: list[Transitions] = []
    for part, length in enumerate(lengths):
        transitions = [numbered(100 * part + number, terminated=number % 3 == 0) for number in range(length)]
        parts.append(stack(transitions))
        extended.extend(parts[-1])
        for transition in transitions:
            one_by_one.add(transition)
    loaded.load([(len(part), partial(parts.__getitem__, index)) for index, part in enumerate(parts)])
    for buffer in (extended, loaded):
        assert len(buffer) == len(one_by_one)
        assert draws(buffer) == draws(one_by_one)
        buffer.add(numbered(7))
    one_by_one.add(numbered(7))
    assert draws(extended) == draws(loaded) == draws(one_by_one)


def test_loading_leaves_unread_what_it_would_overwrite(stack: Stack) -> None:
    def unreadable() -> Transitions:
        raise AssertionError("this part is not needed")

    buffer = ReplayBuffer(3, 2, capacity=4)
    newest = stack([numbered(number) for number in range(4)])
    buffer.load([(9, unreadable), (4, lambda: newest)])
    assert len(buffer) == 4
    assert set(buffer.sample(100, generator(0, "test")).rewards) == {0.0, 10.0, 20.0, 30.0}


def test_memory_is_that_of_the_fields() -> None:
    capacity, fields_bytes = 100_000, 4 * (17 + 6 + 1 + 17 + 1)
    tracemalloc.start()
    try:
        buffer = ReplayBuffer(17, 6, capacity)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert buffer.capacity * fields_bytes <= taken <= 1.05 * capacity * fields_bytes


def test_unused_capacity_takes_no_memory() -> None:
    def resident_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    before = resident_pages()
    buffer = ReplayBuffer(17, 6, capacity=4_000_000)
    assert len(buffer) == 0
    assert (resident_pages() - before) * 4096 < 20_000_000  # of 672,000,000
