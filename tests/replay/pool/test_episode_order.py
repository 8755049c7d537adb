"""Episodes that run at the same time lie one after another in a pool, in the order of their starts."""

from pathlib import Path

import numpy as np
import pytest
from folder_digest import sha256_tree
from pool_fixtures import NUMBERED_SPEC, numbered, straight

from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.episode_order import EpisodeOrder
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.replay.pool.segments import restored_transitions, stored_tensors
from sacpipe.replay.pool.writer import START, PoolWriter
from sacpipe.specs.records import Transition

CONFIG = PoolConfig(segment_transitions=4, format="compact")


def steps(episode: int, count: int, *, ended: bool = True) -> list[Transition]:
    first = 100 * episode
    found = [
        numbered(first + row, episode=episode, truncated=ended and row == count - 1) for row in range(count)
    ]
    return [step._replace(action=np.zeros(2, dtype=np.float32)) for step in found]


A, B, C, D = steps(0, 6), steps(1, 2), steps(2, 3), steps(3, 2, ended=False)
TURNS = [(A[0], B[0]), (A[1], B[1]), (A[2], C[0]), (A[3], C[1]), (A[4], C[2]), (A[5], D[0]), (D[1],)]
"""Two environments: the second has episodes 1, 2 and 3 while the first has episode 0."""
IN_ORDER = [*A, *B, *C, *D]


def add(order: EpisodeOrder, turns: list[tuple[Transition, ...]]) -> None:
    for turn in turns:
        for step in turn:
            order.append(step)
            if step.truncated:
                order.end(step.episode_id)


def test_the_pool_is_that_of_one_episode_after_another(tmp_path: Path) -> None:
    order = EpisodeOrder(PoolWriter.create(tmp_path / "pool", NUMBERED_SPEC, CONFIG), (0, 1))
    add(order, TURNS)
    order.finish()
    assert sha256_tree(tmp_path / "pool") == straight(tmp_path / "straight", NUMBERED_SPEC, CONFIG, IN_ORDER)
    assert ReplayPool.open(tmp_path / "pool").check().episodes == 4


def test_the_oldest_episode_does_not_wait(tmp_path: Path) -> None:
    writer = PoolWriter.create(tmp_path / "pool", NUMBERED_SPEC, CONFIG)
    order = EpisodeOrder(writer, (0, 1))
    counts = []
    for turn in TURNS:
        add(order, [turn])
        waiting = order.waiting()
        counts.append((writer.transitions, 0 if waiting is None else len(waiting)))
    assert counts == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (12, 0), (13, 0)]


@pytest.mark.parametrize("cut", range(len(TURNS)))
def test_resumed_anywhere_gives_the_same_pool(tmp_path: Path, cut: int) -> None:
    writer = PoolWriter.create(tmp_path / "pool", NUMBERED_SPEC, CONFIG)
    order = EpisodeOrder(writer, (0, 1))
    add(order, TURNS[:cut])
    position, waiting = writer.flush(), order.waiting()
    stored = None if waiting is None else stored_tensors(waiting, "compact")
    add(order, TURNS[cut:])  # lost
    writer = PoolWriter.resume(tmp_path / "pool", NUMBERED_SPEC, CONFIG, position)
    waiting = None if stored is None else restored_transitions(stored, NUMBERED_SPEC, "compact", tmp_path)
    running = [(0, 1), (0, 1), (0, 2), (0, 2), (0, 2), (0, 3), (4, 3)][cut]
    order = EpisodeOrder(writer, running, waiting)
    for episode in running:
        expected = [step.reward for turn in TURNS[:cut] for step in turn if step.episode_id == episode]
        assert order.tail(episode).rewards.tolist() == expected
    assert sum(count for count, _ in order.parts()) == sum(map(len, TURNS[:cut]))
    found = np.concatenate([read().rewards for _, read in order.parts()]).tolist()
    added = {step.reward for turn in TURNS[:cut] for step in turn}
    assert found == [step.reward for step in IN_ORDER if step.reward in added]
    add(order, TURNS[cut:])
    order.finish()
    assert sha256_tree(tmp_path / "pool") == straight(tmp_path / "straight", NUMBERED_SPEC, CONFIG, IN_ORDER)


def test_an_episode_that_breaks_off_lets_the_next_ones_in(tmp_path: Path) -> None:
    writer = PoolWriter(tmp_path / "pool", NUMBERED_SPEC, CONFIG, START)
    order = EpisodeOrder(writer, (0, 1))
    add(order, TURNS[:2])
    order.end(0)
    assert (writer.transitions, order.waiting()) == (4, None)
