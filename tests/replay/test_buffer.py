"""The ring: what it keeps, with which neighbours, and what memory it takes."""

import tracemalloc
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from factories import make_spec
from hypothesis import given
from hypothesis import strategies as st
from pool_fixtures import NUMBERED_SPEC, contents, numbered, of_steps, with_camera

from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.view import transition_bytes
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

WIDE = make_spec(17, [(-1.0, 1.0)] * 6)
"""A task of HalfCheetah's widths."""
WATCHED = with_camera(NUMBERED_SPEC)

Walk = Callable[..., list[Transition]]


def rewards(buffer: ReplayBuffer) -> list[float]:
    return buffer.view().rewards(np.arange(len(buffer))).tolist()


def filled(transitions: list[Transition], capacity: int, spec: EnvSpec = NUMBERED_SPEC) -> ReplayBuffer:
    buffer = ReplayBuffer(spec, capacity)
    for transition in transitions:
        buffer.add(transition)
    return buffer


def test_full_ring_keeps_the_newest() -> None:
    buffer = filled([numbered(number) for number in range(5)], capacity=3)
    assert len(buffer) == 3
    assert set(rewards(buffer)) == {20.0, 30.0, 40.0}


def test_fields_of_one_transition_stay_together(walk: Walk, spec: EnvSpec) -> None:
    for capacity in (5, 12, 40):
        steps = walk(30)
        view = filled(steps, capacity, spec).view()
        rows = np.random.default_rng(0).integers(0, len(view), 60)
        found, kept = view.gather(rows), of_steps([steps[number] for number in view.numbers(rows)])
        for name in ("observations", "next_observations"):
            assert getattr(found, name).equals(getattr(kept, name))
            assert getattr(view, name)(rows).equals(getattr(kept, name))
        for name in ("actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))
        for name in ("rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(view, name)(rows), getattr(kept, name))


def test_gathered_vectors_are_views_of_packed_records() -> None:
    found = filled([numbered(number) for number in range(5)], capacity=5).view().gather(np.arange(5))
    record = found.raw.itemsize
    for array in (found.observations.vector, found.actions, found.next_observations.vector):
        assert array.strides == (record, 4)
    first, second, third = (
        array.__array_interface__["data"][0]
        for array in (found.observations.vector, found.actions, found.next_observations.vector)
    )
    assert (second - first, third - second) == (4 * 3, 4 * 2)  # adjacent


def test_given_memory_is_overwritten() -> None:
    view = filled([numbered(number) for number in range(50)], capacity=50).view()
    found = view.gather(np.arange(5))
    assert view.gather(np.arange(5, 10), out=found) is found
    assert found.rewards.tolist() == [50, 60, 70, 80, 90]
    assert view.gather(np.arange(5)).rewards.tolist() == [0, 10, 20, 30, 40]


def test_view_shows_what_is_added_later() -> None:
    buffer = ReplayBuffer(NUMBERED_SPEC, capacity=2)
    view = buffer.view()
    assert (len(view), view.added) == (0, 0)
    for number in range(3):
        buffer.add(numbered(number))
    assert (len(view), view.added) == (2, 3)
    assert sorted(view.numbers(np.arange(2)).tolist()) == [1, 2]


def distances(steps: list[Transition], capacity: int) -> dict[int, int]:
    """Steps to the end of the episode, by number, as the definition has them."""
    found = {}
    for number in range(max(0, len(steps) - capacity), len(steps)):
        last = number
        while (
            last + 1 < len(steps)
            and not steps[last].terminated
            and not steps[last].truncated
            and steps[last + 1].episode_id == steps[number].episode_id
        ):
            last += 1
        found[number] = last - number
    return found


EPISODES = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from(["terminated", "truncated", "both", "broken off"])),
    max_size=6,
)


def steps_of(episodes: list[tuple[int, str]]) -> list[Transition]:
    steps: list[Transition] = []
    for episode, (length, end) in enumerate(episodes):
        for place in range(length):
            is_last = place == length - 1
            steps.append(
                numbered(
                    len(steps),
                    terminated=is_last and end in ("terminated", "both"),
                    truncated=is_last and end in ("truncated", "both"),
                    episode=episode,
                )
            )
    return steps


def begin(steps: list[Transition], number: int, capacity: int, count: int) -> int:
    """Return the number of the oldest transition that is held of an episode, by looking back step by step."""
    while number > max(0, count - capacity) and is_joined(steps[number - 1], steps[number]):
        number -= 1
    return number


def is_joined(first: Transition, second: Transition) -> bool:
    return first.episode_id == second.episode_id and not (first.terminated or first.truncated)


@pytest.mark.slow
@given(episodes=EPISODES, capacity=st.integers(1, 14))
def test_every_transition_knows_how_far_its_episode_goes_on(
    episodes: list[tuple[int, str]], capacity: int
) -> None:
    steps, buffer = steps_of(episodes), ReplayBuffer(NUMBERED_SPEC, capacity)
    view = buffer.view()
    for count, step in enumerate(steps, start=1):
        buffer.add(step)
        rows = np.arange(len(view))
        ahead = view.steps_to_end(rows)
        assert dict(zip(view.numbers(rows).tolist(), ahead.tolist(), strict=True)) == distances(
            steps[:count], capacity
        )
        numbers = view.numbers(rows)
        later = view.numbers(view.later(rows, ahead))
        np.testing.assert_array_equal(later, numbers + ahead)
        np.testing.assert_array_equal(view.rows(numbers), rows)
        begun = [begin(steps, number, capacity, count) for number in numbers.tolist()]
        np.testing.assert_array_equal(numbers - view.steps_since_start(rows), begun)


@pytest.mark.slow
@given(
    episodes=EPISODES,
    capacity=st.integers(1, 12),
    cuts=st.lists(st.integers(0, 54), max_size=4),
    watched=st.booleans(),
)
def test_extending_and_loading_equal_adding_one_by_one(
    episodes: list[tuple[int, str]], capacity: int, cuts: list[int], watched: bool
) -> None:
    spec = WATCHED if watched else NUMBERED_SPEC
    steps = [watch(step) if watched else step for step in steps_of(episodes)]
    one_by_one, extended, loaded = (ReplayBuffer(spec, capacity) for _ in range(3))
    edges = sorted({0, len(steps), *(cut for cut in cuts if cut < len(steps))})
    parts = [of_steps(steps[first:end]) for first, end in pairwise(edges)]
    for step in steps:
        one_by_one.add(step)
    for part in parts:
        extended.extend(part)
    loaded.load([(len(part), partial(parts.__getitem__, index)) for index, part in enumerate(parts)])
    more = [watch(step) if watched else step for step in (numbered(70, episode=99), numbered(71, episode=99))]
    for _ in range(3):
        assert contents(extended) == contents(loaded) == contents(one_by_one)
        if more:
            step = more.pop(0)
            for buffer in (one_by_one, extended, loaded):
                buffer.add(step)


def test_an_end_ends_an_episode_even_if_its_id_goes_on() -> None:
    view = filled([numbered(0, truncated=True), numbered(1), numbered(2)], capacity=4).view()
    assert view.steps_to_end(np.arange(3)).tolist() == [0, 1, 0]
    assert view.steps_since_start(np.arange(3)).tolist() == [0, 0, 1]


def test_starts_of_overwritten_episodes_are_forgotten() -> None:
    buffer = ReplayBuffer(NUMBERED_SPEC, 50)
    view = buffer.view()
    for number in range(2000):
        buffer.add(numbered(number, truncated=number % 3 == 2, episode=number // 3))
    numbers = view.numbers(np.arange(50))
    expected = np.where(numbers < 1953, numbers - 1950, numbers % 3)
    np.testing.assert_array_equal(view.steps_since_start(np.arange(50)), expected)
    assert len(buffer._ring.starts[0]._numbers) <= 64


def watch(step: Transition) -> Transition:
    """Add an image made of the state."""

    def watched(state: float) -> object:
        return WATCHED.layout.pack({"state": [state] * 3, "camera": np.full((2, 3, 3), state % 256)})

    return step._replace(
        observation=watched(step.observation.vector[0]),
        next_observation=watched(step.next_observation.vector[0]),
    )


def test_images_of_a_running_episode_are_stored_once() -> None:
    """Only the newest next image is apart, and the last one of each episode that is still held."""
    buffer = ReplayBuffer(WATCHED, capacity=300)
    for number in range(2000):
        episode = number // 100  # an episode begins elsewhere than the one before ended
        buffer.add(watch(numbered(number + 3 * episode, truncated=number % 100 == 99, episode=episode)))
    apart = (buffer._ring.images._places >= 0).sum()
    assert apart == 3
    assert len(buffer._ring.images._apart["camera"]) == 64


def test_places_apart_grow_with_the_episodes() -> None:
    steps = [watch(numbered(number, truncated=True, episode=number)) for number in range(250)]
    view = filled(steps, 200, WATCHED).view()
    rows = np.arange(200)
    np.testing.assert_array_equal(
        view.next_observations(rows)["camera"][:, 0, 0, 0], (view.numbers(rows) + 1) % 256
    )


def test_an_image_that_does_not_follow_is_kept_apart() -> None:
    jump = watch(numbered(5))
    buffer = filled([watch(numbered(1)), jump], 10, WATCHED)
    assert buffer.view().next_observations(np.arange(2))["camera"][:, 0, 0, 0].tolist() == [2, 6]


def test_transition_is_found_by_observation_and_action() -> None:
    view = filled([numbered(number) for number in range(12)], capacity=10).view()
    for number in (2, 7, 11):
        step = numbered(number)
        assert view.find(step.observation, step.action) == number
    for number in (1, 12):
        step = numbered(number)
        assert view.find(step.observation, step.action) is None
    assert view.find(numbered(3).observation, numbered(4).action) is None


def test_transitions_of_another_task_are_refused() -> None:
    for spec in (make_spec(4), make_spec(3, [(-1.0, 1.0)]), WATCHED):
        with pytest.raises(ValueError, match="expected terms and action_dim"):
            ReplayBuffer(spec, 4).extend(of_steps([numbered(0)]))


def test_loading_leaves_unread_what_it_would_overwrite() -> None:
    def unreadable() -> Transitions:
        raise AssertionError("this part is not needed")

    buffer = ReplayBuffer(NUMBERED_SPEC, capacity=4)
    newest = of_steps([numbered(number) for number in range(4)])
    buffer.load([(9, unreadable), (4, lambda: newest)])
    assert len(buffer) == 4
    assert set(rewards(buffer)) == {0.0, 10.0, 20.0, 30.0}
    assert sorted(buffer.view().numbers(np.arange(4)).tolist()) == [9, 10, 11, 12]


def test_memory_is_that_of_the_fields() -> None:
    capacity, fields_bytes = 100_000, 4 * (17 + 6 + 17 + 1 + 1 + 1)
    assert transition_bytes(WIDE) == fields_bytes <= 180
    tracemalloc.start()
    try:
        buffer = ReplayBuffer(WIDE, capacity)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert buffer.capacity * fields_bytes <= taken <= 1.05 * capacity * fields_bytes


def test_memory_of_an_image_is_taken_once() -> None:
    assert transition_bytes(WATCHED) == transition_bytes(NUMBERED_SPEC) + 18 + 4


def test_unused_capacity_takes_no_memory() -> None:
    def resident_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    before = resident_pages()
    buffer = ReplayBuffer(WIDE, capacity=4_000_000)
    assert len(buffer) == 0
    assert (resident_pages() - before) * 4096 < 20_000_000  # of 688,000,000
