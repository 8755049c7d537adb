"""Hindsight goals: the frequency of every distance against the exact one, numbers by hand, and refusals."""

from collections import Counter

import numpy as np
import pytest
from frequencies import assert_frequencies

from sacpipe.core.errors import ConfigError
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers.base import SamplerContext
from sacpipe.replay.samplers.hindsight import Hindsight, HindsightConfig, Strategy
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, Transition
from sacpipe.specs.terms import BOTH, vector_term
from sacpipe.testing.samplers import check_sampler

STRATEGIES: tuple[Strategy, ...] = ("final", "future", "episode", "random")
ACHIEVED = vector_term("achieved", 1, unit="m", source="test", groups=("achieved_goal",))
DESIRED = vector_term("desired", 1, unit="m", source="test", groups=(*BOTH, "desired_goal"))
STATE = vector_term("state", 1, unit="1", source="test")


def task(*terms: object) -> EnvSpec:
    return EnvSpec.parse(
        {
            "task": "test/goal-v0",
            "observation": [term.as_tree() for term in terms],  # type: ignore[attr-defined]
            "action": [{"name": "force", "unit": "N", "low": -1.0, "high": 1.0}],
            "control_period_s": None,
            "max_episode_steps": None,
        }
    )


SPEC = task(STATE, ACHIEVED, DESIRED)
WANTED = -1.0
"""Desired goal of every episode. The next observation of transition i achieves i + 1, which names it."""


def rewards_of(
    observations: Observation, actions: FloatArray, next_observations: Observation
) -> tuple[FloatArray, FloatArray]:
    """Minus the distance, with the squared action as a cost; the task ends at the goal."""
    distances = np.abs(next_observations["achieved"] - next_observations["desired"])[:, 0]
    np.testing.assert_array_equal(observations["desired"], next_observations["desired"])
    return -distances - actions[:, 0] ** 2, (distances == 0).astype(np.float32)


def at(place: int) -> Observation:
    return SPEC.layout.pack({"state": [place], "achieved": [place], "desired": [WANTED]})


def view_of(lengths: list[int], capacity: int) -> BufferView:
    """Episodes of these lengths, the last of which goes on; they are truncated and terminated in turn."""
    buffer, number = ReplayBuffer(SPEC, capacity), 0
    for episode, length in enumerate(lengths):
        for step in range(length):
            ends = step == length - 1 and episode < len(lengths) - 1
            action = np.array([0.5], dtype=np.float32)
            kinds = (ends and episode % 2 == 1, ends and episode % 2 == 0)
            buffer.add(Transition(at(number), action, 7.0, at(number + 1), *kinds, episode))
            number += 1
    return buffer.view()


def sampler(strategy: Strategy, share: float = 1.0) -> Hindsight:
    config = HindsightConfig(name="hindsight", strategy=strategy, relabelled_share=share)
    built = config.build_from(SamplerContext(SPEC, 0.9, lambda: rewards_of))
    assert isinstance(built, Hindsight)
    return built


LENGTHS, CAPACITY = [4, 7, 1, 3, 5], 16
"""Transitions 0 to 19, of which 4 to 19 are held: the first episode is overwritten."""
EPISODES = [range(4, 11), range(11, 12), range(12, 15), range(15, 20)]


def exact(strategy: Strategy) -> dict[tuple[int, int], float]:
    """Probability that transition i is drawn and gets the goal that transition j reached."""
    found: Counter[tuple[int, int]] = Counter()
    held = range(4, 20)
    for first in held:
        episode = next(one for one in EPISODES if first in one)
        goals = {
            "final": [episode[-1]],
            "future": [*range(first, episode.stop)],
            "episode": [*episode],
            "random": [*held],
        }[strategy]
        for goal in goals:
            found[first, goal] += 1 / len(held) / len(goals)  # type: ignore[assignment]
    return dict(found)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_goals_have_the_exact_probabilities(strategy: Strategy) -> None:
    batch = sampler(strategy)(view_of(LENGTHS, CAPACITY), np.random.default_rng(3), 20_000)
    firsts = batch.observations["achieved"][:, 0].astype(int)
    goals = batch.observations["desired"][:, 0].astype(int) - 1
    np.testing.assert_array_equal(batch.observations["desired"], batch.next_observations["desired"])
    assert_frequencies(zip(firsts.tolist(), goals.tolist(), strict=True), exact(strategy))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_overwritten_beginning_gives_no_goal(strategy: Strategy) -> None:
    view = view_of([10, 2], 8)  # 4 to 11 are held
    batch = sampler(strategy)(view, np.random.default_rng(0), 2000)
    goals = batch.observations["desired"][:, 0].astype(int) - 1
    assert {*goals.tolist()} <= {*range(4, 12)}
    if strategy == "episode":
        early = batch.observations["achieved"][:, 0] < 10
        assert {*goals[early].tolist()} == {*range(4, 10)}


def test_rewards_and_ends_by_hand() -> None:
    view = view_of([3, 2], 10)
    batch, found = sampler("final")(view, np.random.default_rng(0), 200), {}
    for row, number in enumerate(batch.observations["state"][:, 0].astype(int).tolist()):
        goal = float(batch.next_observations["desired"][row, 0])
        found[number] = (goal, float(batch.rewards[row]), round(float(batch.discounts[row]), 6))
    assert found == {  # the distance to the goal after the step, and 0.25 for the action
        0: (3.0, -2.25, 0.9),
        1: (3.0, -1.25, 0.9),
        2: (3.0, -0.25, 0.0),  # truncated under its own goal, and at the new one
        3: (5.0, -1.25, 0.9),
        4: (5.0, -0.25, 0.0),
    }


def test_a_recorded_end_ends_only_its_own_goal() -> None:
    view = view_of([1, 2, 1], 10)  # transition 2 terminated
    batch = sampler("random")(view, np.random.default_rng(0), 400)
    is_last = batch.observations["state"][:, 0] == 2
    reached = batch.observations["desired"][:, 0] == 3
    np.testing.assert_array_equal(batch.discounts[is_last & reached], 0.0)
    np.testing.assert_array_equal(batch.discounts[is_last & ~reached], np.float32(0.9))
    assert (is_last & ~reached).any()


def test_the_share_of_replaced_goals_and_the_other_rows() -> None:
    view = view_of(LENGTHS, CAPACITY)
    batch = sampler("future", 0.8)(view, np.random.default_rng(5), 5000)
    recorded = batch.observations["desired"][:, 0] == WANTED
    assert_frequencies(recorded.tolist(), {True: 0.2, False: 0.8})
    np.testing.assert_array_equal(batch.rewards[recorded], 7.0)
    ends = np.isin(batch.observations["state"][recorded, 0], [10, 14])  # where episodes terminated
    np.testing.assert_array_equal(batch.discounts[recorded] == 0, ends)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_every_strategy_keeps_the_contract(strategy: Strategy, share: float) -> None:
    check_sampler(HindsightConfig(name="hindsight", strategy=strategy, relabelled_share=share))


def test_the_normaliser_sees_the_achieved_goal_as_the_desired_one() -> None:
    observation = at(4)
    found = sampler("future").relabelled(observation)
    assert {name: float(found[name][0]) for name in found} == {"state": 4, "achieved": 4, "desired": 4}
    assert float(observation["desired"][0]) == WANTED


MATRIX = DESIRED.replace(shape=[2, 2], name="matrix")


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ((STATE,), "found none and none"),
        ((STATE, ACHIEVED), "found 'achieved' and none"),
        ((STATE, DESIRED), "found none and 'desired'"),
        ((STATE, ACHIEVED, MATRIX), "found 'achieved' and 'matrix'"),
        (
            (STATE, ACHIEVED, DESIRED, DESIRED.replace(name="other")),
            "found 'achieved' and 'desired', 'other'",
        ),
    ],
)
def test_a_task_without_goals_in_pairs_is_refused(terms: tuple[object, ...], found: str) -> None:
    context = SamplerContext(task(*terms), 0.9, lambda: rewards_of)
    with pytest.raises(ConfigError, match=rf"{found} in test/goal-v0.*`sampler: \{{name: uniform\}}`$"):
        HindsightConfig.example().build_from(context)


def test_a_task_without_rewards_of_recorded_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="found test/goal-v0, whose `compute_rewards` returns None"):
        HindsightConfig.example().build_from(SamplerContext(SPEC, 0.9, lambda: None))


def test_goals_of_several_terms_and_shapes() -> None:
    number = ACHIEVED.replace(name="at", shape=[]), DESIRED.replace(name="to", shape=[])
    square = ACHIEVED.replace(name="is", shape=[2, 2]), DESIRED.replace(name="be", shape=[2, 2])
    spec = task(number[0], square[0], STATE, number[1], square[1])

    def observed(place: float, goal: float) -> Observation:
        squares = {"is": np.full((2, 2), place), "be": np.full((2, 2), goal)}
        return spec.layout.pack({"at": place, "to": goal, "state": [place], **squares})

    buffer = ReplayBuffer(spec, 4)
    action = np.zeros(1, dtype=np.float32)
    for place in range(2):
        buffer.add(Transition(observed(place, 9), action, 0.0, observed(place + 1, 9), False, False, 0))
    zeros = np.zeros(30, dtype=np.float32)
    context = SamplerContext(spec, 0.9, lambda: lambda *_: (zeros, zeros))
    config = HindsightConfig(name="hindsight", strategy="final", relabelled_share=1.0)
    batch = config.build_from(context)(buffer.view(), np.random.default_rng(0), 30)
    for observations in (batch.observations, batch.next_observations):
        assert (observations["to"] == 2).all()
        assert (observations["be"] == 2).all()
