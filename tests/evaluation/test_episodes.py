"""Returns are sums of rewards, summaries are arithmetic, and the file gives back every digit."""

from dataclasses import replace

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacpipe.core.errors import ConfigError, ContractError
from sacpipe.envs import find_task
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.evaluation.episodes import Episode, evaluate, from_task_units
from sacpipe.evaluation.episodes_csv import read_episodes_csv, write_episodes_csv
from sacpipe.evaluation.statistics import difference_interval, interquartile_mean, summarise
from sacpipe.specs.observation import Observation

CONFIG = {"episodes": 2, "bootstrap_resamples": 2000, "confidence": 0.95, "video": None}


def config(**changes):
    return EvaluationConfig.parse(CONFIG | changes)


def make_spec(bounds=((-1.0, 1.0),), limit=4):
    return factories.make_spec(1, bounds, task="toy/counter", max_episode_steps=limit)


class Counter:
    """The observation counts from the seed; the reward is the action; ends at the third step of seed 1.

    Every step's `info` has the count and its square.
    """

    layout = make_spec().layout

    def start(self, seed):
        self.seed, self.count = seed, seed
        return self.observe()

    def observe(self):
        return Observation(self.layout, np.array([self.count], dtype=np.float32), {})

    def advance(self, action):
        self.count += 1
        info = {"count": self.count, "square": self.count**2}
        return self.observe(), float(action[0]), self.seed == 1 and self.count == 4, False, info


def eighth(observation):
    return observation["state"] / 8


def test_return_is_the_sum_of_rewards_and_flags_tell_how_it_ended():
    environment = TaskEnvironment(make_spec(), Counter())
    episodes = evaluate(eighth, environment, [1, 0])
    assert episodes == (
        Episode(seed=1, episode_return=(1 + 2 + 3) / 8, length=3, terminated=True, truncated=False),
        Episode(seed=0, episode_return=(0 + 1 + 2 + 3) / 8, length=4, terminated=False, truncated=True),
    )


def test_metrics_are_means_over_the_steps_and_the_last_values():
    environment = TaskEnvironment(make_spec(), Counter(), metrics=("square", "count"))
    terminated, truncated = evaluate(eighth, environment, [1, 0])
    assert dict(terminated.metrics) == {"square": (4 + 9 + 16) / 3, "count": 3.0}
    assert dict(terminated.last_metrics) == {"square": 16.0, "count": 4.0}
    assert dict(truncated.metrics) == {"square": (1 + 4 + 9 + 16) / 4, "count": 2.5}
    assert len({terminated, truncated}) == 2
    summary = summarise([terminated, truncated], config(), seed=0)
    assert summary.as_tree()["task_metrics"] == {
        "square": {"mean": (29 / 3 + 7.5) / 2, "last": 16.0},
        "count": {"mean": 2.75, "last": 4.0},
    }


def test_same_seeds_give_the_same_episodes():
    task = find_task("gymnasium/Hopper-v5")
    seeds = [3, 1, 3]

    def policy(observation):
        return np.tanh(observation.vector[:3])

    first, second = (evaluate(policy, task.make(), seeds) for _ in range(2))
    assert first == second
    assert first[0] == first[2]
    assert first[0] != first[1]


@pytest.mark.parametrize("action", [np.zeros(2), np.zeros((1, 1)), np.array([np.nan]), np.array([np.inf])])
def test_policy_that_gives_no_action_is_refused_with_task_and_step(action):
    environment = TaskEnvironment(make_spec(), Counter())
    with pytest.raises(ContractError, match=r"task 'toy/counter', episode 1 .*, step 1: expected a.* action"):
        evaluate(lambda _: action, environment, [0])


def test_task_without_a_time_limit_is_refused():
    environment = TaskEnvironment(make_spec(limit=None), Counter())
    with pytest.raises(ConfigError, match="expected a time limit, found none"):
        evaluate(eighth, environment, [0])


UNIT = st.floats(-1.0, 1.0, width=32)


@settings(deadline=None)
@given(values=st.lists(UNIT, min_size=2, max_size=2))
def test_bundle_between_minus_one_and_one_arrives_bit_for_bit(values):
    spec = make_spec(bounds=((-1.0, 1.0), (-1.0, 1.0)))
    answer = spec.to_task_units(np.array(values, dtype=np.float32))
    adapted = from_task_units(lambda _: answer, spec)
    np.testing.assert_array_equal(spec.to_task_units(adapted(None)), answer)


@settings(deadline=None)
@given(values=st.lists(UNIT, min_size=3, max_size=3))
def test_bundle_in_other_units_arrives_within_a_rounding(values):
    spec = make_spec(bounds=((-0.4, 0.4), (0.0, 50.0), (-1.0, 1.1)))
    answer = spec.to_task_units(np.array(values, dtype=np.float32))
    adapted = from_task_units(lambda _: answer, spec)
    arrived = spec.to_task_units(adapted(None))
    assert (np.abs(arrived - answer) <= np.array([0.8, 50.0, 2.1]) * 2**-23).all()


def test_bundle_beyond_the_bounds_is_clipped_there():
    spec = make_spec(bounds=((-2.0, 6.0),))
    assert from_task_units(lambda _: np.array([6.0]), spec)(None).tolist() == [1.0]
    assert from_task_units(lambda _: np.array([2.0]), spec)(None).tolist() == [0.0]
    assert spec.to_task_units(from_task_units(lambda _: np.array([9.0]), spec)(None)).tolist() == [6.0]


def test_bundle_with_the_wrong_shape_is_refused():
    with pytest.raises(ContractError, match=r"expected an action of shape \(1,\), found \(1, 1\)"):
        from_task_units(lambda _: np.zeros((1, 1)), make_spec())(None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 3.0], 2.0),
        ([0.0, 3.0, 9.0], (0.25 * 0 + 1.0 * 3 + 0.25 * 9) / 1.5),  # a quarter of each outer value is inside
        ([0.0, 1.0, 2.0, 100.0], 1.5),
        ([0.0, 1.0, 2.0, 4.0, 10.0], (0.75 * 1 + 1.0 * 2 + 0.75 * 4) / 2.5),
        ([-50.0, 0.0, 1.0, 2.0, 3.0, 4.0, 90.0, 99.0], 2.5),
    ],
)
def test_interquartile_mean_by_hand(values, expected):
    assert interquartile_mean(np.array(values)) == pytest.approx(expected, abs=1e-12)


def episodes(returns, lengths=None):
    lengths = lengths or [1] * len(returns)
    return [Episode(0, one, length, True, False) for one, length in zip(returns, lengths, strict=True)]


def test_summary_by_hand():
    summary = summarise(episodes([10.0, 0.0, 4.0, 1.0, 2.0], [5, 1, 2, 3, 4]), config(), seed=0)
    assert summary.episodes == 5
    assert summary.return_mean == pytest.approx(3.4)
    assert summary.return_median == 2.0
    assert summary.return_iqm == pytest.approx(2.3)
    # deviations -3.4, -2.4, -1.4, 0.6, 6.6; squares 11.56 + 5.76 + 1.96 + 0.36 + 43.56 = 63.2; / 5
    assert summary.return_std == pytest.approx(12.64**0.5)
    assert (summary.return_min, summary.return_max) == (0.0, 10.0)
    assert summary.length_mean == 3.0
    assert summary.return_min < summary.return_ci_low < summary.return_mean < summary.return_ci_high


def test_summary_has_the_keys_of_the_metrics_file():
    keys = "episodes return_mean return_median return_iqm return_std return_min return_max return_ci_low"
    assert list(summarise(episodes([1.0]), config(), seed=0).as_tree()) == [
        *keys.split(),
        "return_ci_high",
        "length_mean",
        "task_metrics",
    ]


@pytest.mark.parametrize(
    ("confidence", "interval"), [(0.95, (0.0, 1.0)), (0.6, (0.0, 1.0)), (0.4, (0.5, 0.5))]
)
def test_interval_of_two_returns_by_hand(confidence, interval):
    """The mean of two draws from {0, 1} is 0, 1/2, 1 with chance 1/4, 1/2, 1/4."""
    summary = summarise(episodes([0.0, 1.0]), config(confidence=confidence), seed=3)
    assert (summary.return_ci_low, summary.return_ci_high) == interval


def test_interval_of_equal_returns_is_that_return():
    summary = summarise(episodes([2.5] * 4), config(bootstrap_resamples=1), seed=0)
    assert (summary.return_ci_low, summary.return_ci_high) == (2.5, 2.5)


def test_interval_depends_on_the_seed_alone():
    returns = list(np.random.default_rng(0).normal(size=30))
    one, again, other = (summarise(episodes(returns), config(), seed) for seed in (1, 1, 2))
    assert one == again
    assert one.return_ci_low != other.return_ci_low


def test_interval_covers_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    hits = 0
    for seed in range(200):
        summary = summarise(episodes(list(random.normal(size=30))), config(bootstrap_resamples=300), seed)
        hits += summary.return_ci_low <= 0.0 <= summary.return_ci_high
    assert 0.88 <= hits / 200 <= 0.99


def test_summary_of_nothing_is_refused():
    with pytest.raises(ValueError, match="expected one or more episodes, found none"):
        summarise([], config(), seed=0)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"episodes": 0}, "episodes"),
        ({"confidence": 1.0}, "confidence"),
        ({"bootstrap_resamples": 0}, "bootstrap"),
    ],
)
def test_section_refuses_values_out_of_range(change, where):
    with pytest.raises(ConfigError, match=where):
        config(**change)


def test_episodes_file_is_this_text(tmp_path):
    path = tmp_path / "out" / "episodes.csv"
    recorded = {
        "deterministic": [Episode(7, 1 / 3, 50, True, False), Episode(8, -1e300, 3, False, True)],
        "bundle": [Episode(7, 2.0, 1, False, True)],
    }
    write_episodes_csv(path, recorded)
    assert path.read_text() == (
        "policy,episode,seed,return,length,terminated,truncated\n"
        "deterministic,0,7,0.3333333333333333,50,true,false\n"
        "deterministic,1,8,-1e+300,3,false,true\n"
        "bundle,0,7,2.0,1,false,true\n"
    )


def test_metrics_are_two_columns_each_after_the_others(tmp_path):
    path = tmp_path / "episodes.csv"
    values = ({"reward_ctrl": -1 / 3, "a,b": 1.0}, {"reward_ctrl": 0.0, "a,b": 2.5})
    write_episodes_csv(path, {"bundle": [Episode(7, 2.0, 1, False, True, *values)]})
    assert path.read_text() == (
        "policy,episode,seed,return,length,terminated,truncated,"
        'reward_ctrl_mean,reward_ctrl_last,"a,b_mean","a,b_last"\n'
        "bundle,0,7,2.0,1,false,true,-0.3333333333333333,0.0,1.0,2.5\n"
    )


EPISODES = st.builds(
    Episode,
    seed=st.integers(0, 2**31 - 1),
    episode_return=st.floats(allow_nan=False, allow_infinity=False),
    length=st.integers(1, 10**6),
    terminated=st.booleans(),
    truncated=st.booleans(),
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.slow
@settings(deadline=None)
@given(
    recorded=st.dictionaries(
        st.sampled_from(["deterministic", "stochastic", "bundle"]), st.lists(EPISODES, min_size=1)
    ),
    names=st.lists(st.sampled_from(["a", "a_mean", "a/b", "_last", "x,y"]), unique=True),
    data=st.data(),
)
def test_episodes_file_gives_back_what_was_written(tmp_path_factory, recorded, names, data):
    for rows in recorded.values():
        for index, one in enumerate(rows):
            metrics = [{name: data.draw(NUMBERS) for name in names} for _ in range(2)]
            rows[index] = replace(one, metrics=metrics[0], last_metrics=metrics[1])
    path = tmp_path_factory.mktemp("episodes") / "episodes.csv"
    write_episodes_csv(path, recorded)
    assert read_episodes_csv(path) == {policy: tuple(episodes) for policy, episodes in recorded.items()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns"),
        ("policy,episode\n", "expected the columns policy,episode,seed"),
        (
            "policy,episode,seed,return,length,terminated,truncated\na,0,1,2.0,3,yes,no\n",
            "expected true or false",
        ),
        ("policy,episode,seed,return,length,terminated,truncated\na,0,1,2.0\n", "not enough values"),
        (
            "policy,episode,seed,return,length,terminated,truncated,a_mean\n",
            "NAME_mean,NAME_last of each metric",
        ),
        ("policy,episode,seed,return,length,terminated,truncated,a_last,a_mean\n", "expected the columns"),
        (
            "policy,episode,seed,return,length,terminated,truncated,a_mean,a_last\na,0,1,2.0,3,true,false,1.0\n",
            "shorter than",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "episodes.csv"
    path.write_text(text)
    with pytest.raises(ContractError, match=message):
        read_episodes_csv(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ContractError, match=r"none\.csv is not an episodes file"):
        read_episodes_csv(tmp_path / "none.csv")


def test_difference_interval_has_a_sign_and_a_seed():
    assert difference_interval([3.0, 3.0], [1.0], config(), seed=1) == (2.0, 2.0)
    assert difference_interval([1.0], [3.0, 3.0], config(), seed=1) == (-2.0, -2.0)
    sides = [0.0, 1.0, 5.0, 6.0], [0.0, 1.0, 2.0, 9.0]
    assert difference_interval(*sides, config(), seed=1) == difference_interval(*sides, config(), seed=1)
    narrow = difference_interval(*sides, config(confidence=0.5), seed=1)
    wide = difference_interval(*sides, config(), seed=1)
    assert wide[0] < narrow[0] < 0.0 < narrow[1] < wide[1]
