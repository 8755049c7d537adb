"""A sum tree finds what a running sum finds, and depends on its values alone."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sacpipe.replay.samplers.prioritised import SumTree

WHOLE = st.lists(st.integers(0, 5), min_size=1, max_size=70).filter(any)


def tree_of(values: list[float]) -> SumTree:
    tree = SumTree(len(values))
    tree.put(np.arange(len(values)), np.array(values, dtype=np.float64))
    return tree


@given(WHOLE)
def test_every_target_falls_where_the_running_sum_exceeds_it(values: list[int]) -> None:
    tree, targets = tree_of(values), np.arange(0, sum(values), 0.49)
    expected = np.searchsorted(np.cumsum(values), targets, side="right")
    np.testing.assert_array_equal(tree.find(targets), expected)
    assert tree.total == sum(values)
    np.testing.assert_array_equal(tree.values, values)


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=40).filter(any), st.floats(0.9999, 1.0))
@example([1.0, 0.0], 1.0)
@example([0.1, 0.2, 0.3, 0.0, 0.0], 1.0)
def test_no_place_of_value_0_is_found_even_at_the_end(values: list[float], share: float) -> None:
    tree = tree_of(values)
    (place,) = tree.find(np.array([share * tree.total]))
    assert values[place] > 0


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 39), st.floats(0, 1e9)), max_size=60),
    st.integers(0, 30),
)
def test_the_sums_do_not_depend_on_the_order_of_writing(
    capacity: int, writes: list[tuple[int, float]], more: int
) -> None:
    tree = SumTree(capacity)
    for place, value in writes:
        tree.put(np.array([place % capacity]), np.array([value]))
    again = tree_of(tree.values.tolist())
    np.testing.assert_array_equal(again._sums, tree._sums)
    assert tree_of([*tree.values.tolist(), *[0.0] * more]).total == tree.total


def test_of_a_place_that_is_written_twice_at_once_the_last_value_counts() -> None:
    tree = SumTree(5)
    tree.put(np.array([3, 1, 3]), np.array([7.0, 1.0, 2.0]))
    assert (tree.values.tolist(), tree.total) == ([0, 1, 0, 2, 0], 3)


@pytest.mark.parametrize("capacity", [1, 2, 3, 64, 65])
def test_trees_of_any_size(capacity: int) -> None:
    tree = tree_of([1.0] * capacity)
    np.testing.assert_array_equal(tree.find(np.arange(capacity) + 0.5), np.arange(capacity))
