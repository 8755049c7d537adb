"""Ranges and constant runs of recorded observations, against hand-made episodes and a loop."""

import itertools

import numpy as np
import pytest
from bundle_factories import make_spec, term_tree
from hypothesis import given
from hypothesis import strategies as st

from sacpipe.export.evidence import ConstantRuns, concatenated, envelope, policy_observations
from sacpipe.specs.observation import Observation

SPEC = make_spec(
    observation=[
        term_tree("secret", 1, groups=["critic"]),
        term_tree("state", 2),
        term_tree("command", groups=["policy"]),
        term_tree("camera", 1, 1, 2, dtype="uint8"),
        term_tree("map", 1, 1, 1, dtype="uint8", groups=["critic"]),
    ]
)


def observations(commands, states=None, cameras=None) -> Observation:
    num = len(commands)
    return SPEC.layout.pack(
        {
            "secret": np.zeros((num, 1)),
            "state": np.zeros((num, 2)) if states is None else np.array(states),
            "command": np.array(commands),
            "camera": np.zeros((num, 1, 1, 2)) if cameras is None else np.reshape(cameras, (num, 1, 1, 2)),
            "map": np.zeros((num, 1, 1, 1)),
        }
    )


def test_the_policys_part_of_an_observation():
    whole = observations([5, 6], states=[[1, 2], [3, 4]], cameras=[7, 8, 9, 10])
    seen = policy_observations(whole, SPEC.policy_spec)
    assert {name: array.tolist() for name, array in seen.items()} == {
        "state": [[1, 2], [3, 4]], "command": [5, 6], "camera": [[[[7, 8]]], [[[9, 10]]]]
    }  # fmt: skip
    assert np.shares_memory(seen.vector, whole.vector)


def test_ranges_are_by_term():
    """The vector is command, state."""
    low, high = np.float32([-1, -2, -3]), np.float32([1, 2, 3])
    found = envelope(SPEC.policy_spec, low, high, {"command": 1, "state": 2, "camera": 3})
    assert (found.low, found.high) == (
        {"command": (-1.0,), "state": (-2.0, -3.0)},
        {"command": (1.0,), "state": (2.0, 3.0)},
    )
    assert found.longest_constant == {"command": 1, "state": 2, "camera": 3}


def runs_of(*parts):
    runs = ConstantRuns(SPEC.layout)
    for part, episode_ids in parts:
        runs.add(part, np.array(episode_ids))
    return runs.longest


class TestConstantRuns:
    def test_of_each_term(self):
        whole = observations(
            [1, 2, 2, 2, 3],
            states=[[0, 0], [0, 1], [0, 2], [0, 2], [0, 3]],
            cameras=[1, 1, 1, 1, 1, 2, 1, 2, 1, 2],
        )
        longest = runs_of((whole, [0] * 5))
        assert longest == {"secret": 5, "state": 2, "command": 3, "camera": 3, "map": 5}

    def test_end_with_the_episode(self):
        assert runs_of((observations([4, 4, 4, 4]), [0, 0, 0, 1]))["command"] == 3

    def test_go_on_in_the_next_segment(self):
        parts = [
            (observations([1, 7]), [3, 3]),
            (observations([7, 7]), [3, 3]),
            (observations([7, 8]), [3, 3]),
        ]
        assert runs_of(*parts)["command"] == 4

    def test_do_not_go_on_in_another_episode(self):
        parts = [(observations([7, 7]), [3, 3]), (observations([7, 8]), [4, 4])]
        assert runs_of(*parts)["command"] == 2

    def test_of_nothing_and_of_one(self):
        assert runs_of((observations([]), []))["command"] == 1
        assert runs_of((observations([5]), [0]))["command"] == 1

    def test_are_not_changed_by_memory_that_is_written_again(self):
        part = observations([7, 7])
        runs = ConstantRuns(SPEC.layout)
        runs.add(part, np.zeros(2, np.int64))
        part.vector[:] = 1.0
        runs.add(observations([7]), np.zeros(1, np.int64))
        assert runs.longest["command"] == 3

    @given(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=12),
        st.lists(st.integers(0, 12), max_size=3),
    )
    def test_are_those_of_a_loop_however_the_pool_is_cut(self, steps, cuts):
        commands = [command for command, _ in steps]
        episodes = np.cumsum([starts for _, starts in steps])
        longest, present = 1, 0
        for place, command in enumerate(commands):
            goes_on = place > 0 and episodes[place] == episodes[place - 1] and command == commands[place - 1]
            present = present + 1 if goes_on else 1
            longest = max(longest, present)
        ends = [0, *sorted(min(cut, len(steps)) for cut in cuts), len(steps)]
        parts = [
            (observations(commands[start:end]), episodes[start:end])
            for start, end in itertools.pairwise(ends)
        ]
        assert runs_of(*parts)["command"] == longest


def test_parts_are_joined_in_order():
    first, second = observations([1, 2], cameras=[1, 2, 3, 4]), observations([3], cameras=[5, 6])
    joined = concatenated([first, second])
    assert joined["command"].tolist() == [1, 2, 3]
    assert joined["camera"].ravel().tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["command", "camera"])
def test_a_term_that_changes_at_every_step_has_runs_of_one(name):
    assert runs_of((observations([1, 2, 3], cameras=[1, 1, 2, 2, 3, 3]), [0, 0, 0]))[name] == 1
