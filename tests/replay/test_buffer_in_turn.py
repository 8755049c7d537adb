"""A buffer that several environments fill in turn: each one's transitions lie as in a buffer of its own."""

from functools import partial
from itertools import chain, zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_fixtures import NUMBERED_SPEC, contents, numbered, of_steps
from test_buffer import WATCHED, watch

from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.specs.records import Transition

LENGTHS = st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=8)
"""Lengths of an environment's episodes, and whether each has an end."""


def episodes_of(environment: int, lengths: list[tuple[int, bool]], count: int) -> list[list[Transition]]:
    """Return episodes with `count` transitions in all. No two transitions of different environments are equal."""
    episodes, number, index = [], 0, 0
    while number < count:
        length, has_end = lengths[index % len(lengths)]
        rows = range(number, min(count, number + length))
        first = 1000 * environment + index  # an episode begins elsewhere than the one before ended
        episodes.append(
            [
                watch(numbered(first + row, truncated=has_end and row == number + length - 1, episode=index))
                for row in rows
            ]
        )
        number, index = number + len(rows), index + 1
    return episodes


@settings(max_examples=25)
@given(
    lengths=st.lists(LENGTHS, min_size=1, max_size=3),
    places=st.integers(1, 9),
    rounds=st.integers(1, 25),
    left_over=st.integers(0, 2),
)
def test_each_environment_has_what_a_buffer_of_its_own_has(
    lengths: list[list[tuple[int, bool]]], places: int, rounds: int, left_over: int
) -> None:
    count = len(lengths)
    streams = [list(chain(*episodes_of(index, each, rounds))) for index, each in enumerate(lengths)]
    together = ReplayBuffer(WATCHED, places * count + min(left_over, count - 1), count)
    alone = [ReplayBuffer(WATCHED, places) for _ in streams]
    for steps in zip(*streams, strict=True):
        for buffer, step in zip(alone, steps, strict=True):
            together.add(step)
            buffer.add(step)
    view, rows = together.view(), np.arange(len(together))
    numbers, ahead = view.numbers(rows), view.steps_to_end(rows)
    behind = view.steps_since_start(rows)
    np.testing.assert_array_equal(view.numbers(view.later(rows, ahead)), numbers + count * ahead)
    np.testing.assert_array_equal(view.numbers(view.later(rows, -behind)), numbers - count * behind)
    for environment, buffer in enumerate(alone):
        own = buffer.view()
        mine = rows[numbers % count == environment]
        mine = mine[np.argsort(numbers[mine])]
        same = np.argsort(own.numbers(np.arange(len(own))))
        np.testing.assert_array_equal(numbers[mine] // count, own.numbers(same))
        np.testing.assert_array_equal(ahead[mine], own.steps_to_end(same))
        np.testing.assert_array_equal(behind[mine], own.steps_since_start(same))
        for name in ("observations", "next_observations"):
            assert getattr(view, name)(mine).equals(getattr(own, name)(same))


@settings(max_examples=25)
@given(lengths=st.lists(LENGTHS, min_size=2, max_size=3), places=st.integers(1, 9), rounds=st.integers(1, 25))
def test_episodes_loaded_one_after_another_lie_as_they_were_added(
    lengths: list[list[tuple[int, bool]]], places: int, rounds: int
) -> None:
    count = len(lengths)
    streams = [episodes_of(index, each, rounds) for index, each in enumerate(lengths)]
    added, loaded = (ReplayBuffer(WATCHED, places * count, count) for _ in range(2))
    for steps in zip(*(chain(*episodes) for episodes in streams), strict=True):
        for step in steps:
            added.add(step)
    parts, environments = [], []
    for episodes in zip_longest(*streams):
        for environment, episode in enumerate(episodes):
            if episode is not None:
                parts.append(of_steps([step._replace(episode_id=len(environments)) for step in episode]))
                environments.append(environment)
    readers = [(len(part), partial(parts.__getitem__, index)) for index, part in enumerate(parts)]
    loaded.load_in_turn(readers, np.array(environments))
    assert contents(loaded) == contents(added)
    for buffer in (loaded, added):  # each environment begins another episode
        for environment in range(count):
            buffer.add(watch(numbered(7 + environment, episode=99)))
    assert contents(loaded) == contents(added)


def test_a_running_episode_goes_on_after_loading() -> None:
    steps = [
        [numbered(100 * environment + row, episode=environment) for row in range(4)] for environment in (0, 1)
    ]
    buffer = ReplayBuffer(NUMBERED_SPEC, 8, 2)
    parts = [of_steps(rows[:3]) for rows in steps]
    buffer.load_in_turn([(3, lambda: parts[0]), (3, lambda: parts[1])], np.array([0, 1]))
    for rows in steps:
        buffer.add(rows[3])
    assert buffer.view().steps_to_end(np.arange(8)).tolist() == [3, 3, 2, 2, 1, 1, 0, 0]


def test_environments_of_unequal_length_are_refused() -> None:
    buffer = ReplayBuffer(NUMBERED_SPEC, 8, 2)
    part = of_steps([numbered(0)])
    with pytest.raises(ValueError, match=r"equally many transitions of each environment, found \[1, 0\]"):
        buffer.load_in_turn([(1, lambda: part)], np.array([0]))
    with pytest.raises(ValueError, match="expected a buffer of one environment"):
        buffer.extend(part)


def test_within_a_round_each_environment_counts_the_transitions_that_are_held() -> None:
    """Of five transitions the ring has numbers 1 to 4: of the environments 1, 0, 1, 0."""
    buffer = ReplayBuffer(NUMBERED_SPEC, 4, 2)
    for number in range(5):
        buffer.add(numbered(number, episode=number % 2))
    view = buffer.view()
    rows = view.rows(np.arange(1, 5))
    assert view.steps_since_start(rows).tolist() == [0, 0, 1, 1]
    assert view.steps_to_end(rows).tolist() == [1, 1, 0, 0]
