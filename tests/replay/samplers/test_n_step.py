"""Returns of n steps: numbers by hand, the bytes of `uniform` for one step, and the frequencies of windows."""

import numpy as np
import pytest
from frequencies import assert_frequencies
from pool_fixtures import NUMBERED_SPEC, numbered

from sacpipe.core.errors import ConfigError
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers.n_step import NStepConfig
from sacpipe.replay.samplers.uniform import UniformConfig
from sacpipe.replay.view import BufferView
from sacpipe.testing.samplers import check_sampler
from sacpipe.testing.walk import Walk, walk_spec


def view_of(steps: list[tuple[int, bool, bool]], capacity: int = 100) -> BufferView:
    buffer = ReplayBuffer(NUMBERED_SPEC, capacity)
    for number, (episode, terminated, truncated) in enumerate(steps):
        buffer.add(numbered(number, terminated=terminated, truncated=truncated, episode=episode))
    return buffer.view()


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [1, 2, 20])
def test_windows_of_any_length_keep_the_contract(num_steps: int) -> None:
    check_sampler(NStepConfig(name="n_step", num_steps=num_steps))


def test_returns_by_hand() -> None:
    steps = [(0, False, False), (0, False, False), (0, False, True), (1, False, False), (1, True, False)]
    steps += [(2, False, False), (2, False, False)]
    sample = NStepConfig(name="n_step", num_steps=3).build(NUMBERED_SPEC, 0.5)
    batch, found = sample(view_of(steps), np.random.default_rng(0), 300), {}
    for row, number in enumerate(batch.observations["state"][:, 0].astype(int).tolist()):
        following = float(batch.next_observations["state"][row, 0])
        found[number] = (float(batch.rewards[row]), float(batch.discounts[row]), following)
    assert found == {  # rewards are 10 x number
        0: (0 + 0.5 * 10 + 0.25 * 20, 0.125, 3.0),  # the truncation of its last step is bootstrapped
        1: (10 + 0.5 * 20, 0.25, 3.0),  # the truncation inside ends the window
        2: (20.0, 0.5, 3.0),
        3: (30 + 0.5 * 40, 0.0, 5.0),  # the termination ends it without a value
        4: (40.0, 0.0, 5.0),
        5: (50 + 0.5 * 60, 0.25, 7.0),  # the newest transition ends it too
        6: (60.0, 0.5, 7.0),
    }


@pytest.mark.parametrize("num_steps", [0, 1001, 10**9])
def test_a_number_of_steps_out_of_range_is_refused(num_steps: int) -> None:
    with pytest.raises(ConfigError, match="num_steps"):
        NStepConfig.parse({"name": "n_step", "num_steps": num_steps})


@pytest.mark.parametrize("image", [False, True])
def test_one_step_gives_the_bytes_of_uniform(image: bool) -> None:
    spec = walk_spec(goals=True, image=image)
    walk, buffer = Walk(spec, 60), ReplayBuffer(spec, 40)
    one, uniform = (
        config.build(spec, 0.97)
        for config in (NStepConfig(name="n_step", num_steps=1), UniformConfig.example())
    )
    draws = [np.random.default_rng(4) for _ in range(2)]
    for number in range(60):
        buffer.add(walk.transition(number))
        first, second = one(buffer.view(), draws[0], 9), uniform(buffer.view(), draws[1], 9)
        for name in ("actions", "rewards", "discounts"):
            assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
        assert first.observations.equals(second.observations)
        assert first.next_observations.equals(second.next_observations)
    assert draws[0].bit_generator.state == draws[1].bit_generator.state


def test_every_transition_begins_a_window_equally_often() -> None:
    steps = [(number // 4, False, number % 4 == 3) for number in range(30)]
    view = view_of(steps, capacity=20)
    batch = NStepConfig.example().build(NUMBERED_SPEC, 0.9)(view, np.random.default_rng(1), 4000)
    firsts = batch.observations["state"][:, 0].astype(int)
    lasts = batch.next_observations["state"][:, 0].astype(int) - 1
    assert_frequencies(firsts.tolist(), dict.fromkeys(range(10, 30), 1 / 20))
    ends = np.minimum(np.minimum(firsts + 2, firsts | 3), 29)  # episodes end at 3, 7, ...; 29 is the newest
    np.testing.assert_array_equal(lasts, ends)
    np.testing.assert_allclose(batch.discounts, 0.9 ** (lasts - firsts + 1.0), rtol=1e-6)
