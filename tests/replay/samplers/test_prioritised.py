"""Prioritised draws: frequencies against exact probabilities, weights by hand, and the state."""

import numpy as np
import pytest
from frequencies import assert_frequencies
from pool_fixtures import NUMBERED_SPEC, numbered

from sacpipe.core.errors import CheckpointError
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers.prioritised import Prioritised, PrioritisedConfig
from sacpipe.replay.view import BufferView
from sacpipe.testing.samplers import check_sampler

ERRORS = np.array([0.5, 1.0, 2.0, 4.0, 0.0, 3.0, 0.25, 8.0], dtype=np.float32)
EPSILON = 0.25


def view_of(count: int, capacity: int = 8) -> BufferView:
    buffer = ReplayBuffer(NUMBERED_SPEC, capacity)
    for number in range(count):
        buffer.add(numbered(number, terminated=number % 3 == 2))
    return buffer.view()


def config(**changes: float | None) -> PrioritisedConfig:
    tree = {"name": "prioritised", "alpha": 0.7, "beta": 0.5, "beta_steps": None, "epsilon": EPSILON}
    return PrioritisedConfig.parse(tree | changes)


def numbers_of(sampler: Prioritised, view: BufferView, generator: np.random.Generator, n: int) -> list[int]:
    return sampler(view, generator, n).observations["state"][:, 0].astype(int).tolist()


def informed(view: BufferView, **changes: float | None) -> Prioritised:
    """A sampler that knows the errors of eight transitions."""
    sampler = Prioritised(config(**changes), NUMBERED_SPEC, 0.9)
    numbers = numbers_of(sampler, view, np.random.default_rng(0), 8)
    assert sorted(numbers) == [*range(8)]  # of equal priorities, each part has one
    sampler.receive(ERRORS[numbers])
    return sampler


def exact(alpha: float) -> dict[int, float]:
    powers = (ERRORS.astype(np.float64) + EPSILON) ** alpha
    return dict(enumerate((powers / powers.sum()).tolist()))


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("n", [1, 7, 200])
def test_draws_have_the_exact_probabilities(alpha: float, n: int) -> None:
    view = view_of(8)
    sampler, generator = informed(view, alpha=alpha), np.random.default_rng(1)
    drawn = [number for _ in range(2_000 // n) for number in numbers_of(sampler, view, generator, n)]
    assert_frequencies(drawn, exact(alpha))


def test_each_part_of_the_sum_has_one_row() -> None:
    """So numbers of a batch differ from the expected ones by less than two: appendix B.2.1."""
    view = view_of(8)
    drawn = numbers_of(informed(view), view, np.random.default_rng(2), 500)
    for number, share in exact(0.7).items():
        assert abs(drawn.count(number) - 500 * share) < 2


def test_weights_by_hand() -> None:
    view = view_of(8)
    sampler = informed(view, alpha=1.0, beta=0.5)
    batch = sampler(view, np.random.default_rng(3), 400)
    probabilities = np.array([exact(1.0)[int(state)] for state in batch.observations["state"][:, 0]])
    expected = (8 * probabilities) ** -0.5
    np.testing.assert_allclose(batch.weights, expected / expected.max(), rtol=1e-6)
    assert batch.weights is not None
    assert batch.weights.max() == 1.0


def test_beta_rises_linearly_to_1_with_the_batches() -> None:
    view, generator = view_of(8), np.random.default_rng(4)
    sampler = informed(view, alpha=1.0, beta=0.25, beta_steps=4)
    found = []
    for _ in range(5):  # one batch was drawn before
        batch = sampler(view, generator, 400)
        p = np.array([exact(1.0)[int(state)] for state in batch.observations["state"][:, 0]])
        assert batch.weights is not None
        uneven = p > p.min()
        found.append(float(np.mean(np.log(batch.weights[uneven]) / np.log(p.min() / p[uneven]))))
    np.testing.assert_allclose(found, [0.4375, 0.625, 0.8125, 1.0, 1.0], rtol=1e-5)


def test_new_transitions_have_the_highest_priority_so_far() -> None:
    buffer = ReplayBuffer(NUMBERED_SPEC, 8)
    for number in range(8):
        buffer.add(numbered(number))
    view = buffer.view()
    sampler = informed(view, alpha=1.0)
    for number in (8, 9):  # over 0 and 1
        buffer.add(numbered(number))
    sampler(view, np.random.default_rng(0), 4)
    expected = ERRORS.astype(np.float64) + EPSILON
    expected[:2] = expected.max()
    np.testing.assert_allclose(sampler.state()["priorities"], expected, rtol=1e-6)


def test_a_longer_ring_keeps_the_priorities() -> None:
    """As where a finished run is extended: its buffer is longer then."""
    sampler, longer = informed(view_of(8)), Prioritised(config(), NUMBERED_SPEC, 0.9)
    longer.load_state(sampler.state())
    drawn = [
        numbers_of(one, view, np.random.default_rng(5), 50)
        for one, view in ((sampler, view_of(8)), (longer, view_of(8, capacity=30)))
    ]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"highest": np.zeros(2)},
        {"counts": np.zeros(3)},
        {"priorities": np.zeros((8, 2))},
        {"priorities": np.zeros(())},
        {"more": np.zeros(1)},
    ],
)
def test_another_state_is_refused(changes: dict[str, np.ndarray]) -> None:
    sampler = informed(view_of(8))
    with pytest.raises(CheckpointError, match="sampler 'prioritised': expected arrays as"):
        sampler.load_state(sampler.state() | changes)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"alpha": 0.0}, {"beta": 0.0}, {"beta_steps": 3}])
def test_every_exponent_keeps_the_contract(changes: dict[str, float]) -> None:
    check_sampler(config(**changes))
