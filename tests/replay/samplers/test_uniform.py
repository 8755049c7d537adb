"""The default sampler: which rows it draws, and into which memory."""

import numpy as np
from pool_fixtures import NUMBERED_SPEC, numbered

from sacpipe.core.seeding import generator
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers.uniform import UniformConfig
from sacpipe.replay.view import BufferView


def view_of(count: int, capacity: int = 50, **flags: bool) -> BufferView:
    buffer = ReplayBuffer(NUMBERED_SPEC, capacity)
    for number in range(count):
        buffer.add(numbered(number, **flags))
    return buffer.view()


def test_rows_are_one_call_of_integers() -> None:
    for count in (30, 70):  # a part of the ring, and more than the ring
        view, draws, expected = view_of(count), generator(3, "a"), generator(3, "a")
        sample = UniformConfig.example().build(NUMBERED_SPEC, 0.9)
        for n in (5, 5, 64):
            rows = expected.integers(0, len(view), size=n)
            assert sample(view, draws, n).rewards.tolist() == (10 * view.numbers(rows)).tolist()
        assert draws.bit_generator.state == expected.bit_generator.state


def test_every_transition_is_drawn_equally_often() -> None:
    sample = UniformConfig.example().build(NUMBERED_SPEC, 0.9)
    rewards = sample(view_of(10), generator(0, "test"), 100_000).rewards
    counts = np.bincount((rewards / 10).astype(int), minlength=10)
    assert np.abs(counts - 10_000).max() < 4 * np.sqrt(100_000 * 0.1 * 0.9)  # four standard deviations


def test_a_batch_is_overwritten_by_the_next_of_the_same_size() -> None:
    sample, view, draws = UniformConfig.example().build(NUMBERED_SPEC, 0.9), view_of(20), generator(0, "a")
    first = sample(view, draws, 8)
    assert sample(view, draws, 8) is first
    assert len(sample(view, draws, 3).rewards) == 3


def test_a_truncation_is_no_termination() -> None:
    sample = UniformConfig.example().build(NUMBERED_SPEC, 0.99)
    for flags, discount in (({"truncated": True}, np.float32(0.99)), ({"terminated": True}, 0.0)):
        assert sample(view_of(1, **flags), generator(0, "a"), 1).discounts.tolist() == [discount]
