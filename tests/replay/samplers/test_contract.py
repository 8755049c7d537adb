"""`check_sampler` accepts ours and two foreign samplers, and finds every broken rule."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np
import pytest
from future_goals import FutureGoalsConfig
from n_step import NStepConfig
from pool_fixtures import NUMBERED_SPEC, numbered
from pydantic import TypeAdapter

from sacpipe.core.errors import ConfigError, ContractError
from sacpipe.core.members import member_field
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.replay.samplers.base import Sampler, SamplerConfig, SamplerContext
from sacpipe.replay.samplers.hindsight import HindsightConfig
from sacpipe.replay.samplers.prioritised import PrioritisedConfig
from sacpipe.replay.samplers.uniform import UniformConfig
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch
from sacpipe.testing.samplers import check_sampler


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS.ours)
def test_our_samplers_keep_the_contract(name: str) -> None:
    check_sampler(SAMPLERS.find(name).example())


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_returns_of_n_steps_in_one_foreign_file(steps: int) -> None:
    check_sampler(NStepConfig(name="n_step:NStepConfig", steps=steps))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_future_goals_in_one_foreign_file(share: float) -> None:
    check_sampler(FutureGoalsConfig(name="future_goals:FutureGoalsConfig", share=share, tolerance=0.05))


def test_foreign_samplers_are_named_by_import_path() -> None:
    section = TypeAdapter(member_field(SAMPLERS))
    for config in (NStepConfig.example(), FutureGoalsConfig.example(), UniformConfig.example()):
        assert section.validate_python(config.as_tree()) == config
    with pytest.raises(ValueError, match=r"sampler 'unifrom': expected one of uniform"):
        section.validate_python({"name": "unifrom"})


def test_a_window_of_n_steps_stops_at_both_ends() -> None:
    buffer = ReplayBuffer(NUMBERED_SPEC, 8)
    steps = [(0, False, False), (0, False, True), (1, False, False), (1, True, False), (2, False, False)]
    for number, (episode, terminated, truncated) in enumerate(steps):
        buffer.add(numbered(number, terminated=terminated, truncated=truncated, episode=episode))
    view, batches = buffer.view(), {}
    sample = NStepConfig(name="n_step:NStepConfig", steps=3).build(NUMBERED_SPEC, 0.5)
    batch = sample(view, np.random.default_rng(0), 200)
    for row, number in enumerate(batch.observations["state"][:, 0].astype(int).tolist()):
        following = float(batch.next_observations["state"][row, 0])
        batches[number] = (float(batch.rewards[row]), float(batch.discounts[row]), following)
    assert batches == {
        0: (0 + 0.5 * 10, 0.25, 2.0),  # the truncation in the window is bootstrapped
        1: (10.0, 0.5, 2.0),
        2: (20 + 0.5 * 30, 0.0, 4.0),  # the termination is not
        3: (30.0, 0.0, 4.0),
        4: (40.0, 0.5, 5.0),  # the newest
    }


class Broken(SamplerConfig):
    """A uniform sampler whose batch is changed."""

    fault: int

    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        uniform, change = UniformConfig.example().build(spec, discount), FAULTS[self.fault][0]
        return lambda view, generator, n: change(uniform, view, generator, n)

    @classmethod
    def example(cls) -> Self:
        return cls(name="broken", fault=0)


def altered(**changes: Callable[[Batch], Any]) -> Callable[..., Batch]:
    def change(uniform: Sampler, view: BufferView, generator: np.random.Generator, n: int) -> Batch:
        batch = uniform(view, generator, n)
        return dataclasses.replace(batch, **{name: make(batch) for name, make in changes.items()})

    return change


def write(view: BufferView) -> None:
    view._ring.records["rewards"][:] += 1


FAULTS: list[tuple[Callable[..., Batch], str]] = [
    (altered(rewards=lambda batch: batch.rewards[:, None]), r"expected rewards as float32\(1,\)"),
    (
        altered(discounts=lambda batch: batch.discounts.astype(float)),
        r"expected discounts as float32\(1,\), found float64",
    ),
    (altered(actions=lambda batch: batch.actions * 2), "expected the recorded action"),
    (altered(discounts=lambda batch: batch.discounts * 0 + np.float32(0.9)), "expected the discount 0 for"),
    (altered(discounts=lambda batch: batch.discounts * 0), r"expected the discount 0\.9 for"),
    (
        altered(discounts=lambda batch: batch.discounts + np.float32(0.2)),
        r"expected discounts in \[0, 0\.9\]",
    ),
    (altered(rewards=lambda batch: batch.rewards + 1), "expected the reward"),
    (altered(rewards=lambda batch: batch.rewards + np.float32(np.nan)), "expected finite rewards"),
    (
        altered(weights=lambda batch: np.zeros(len(batch.rewards), dtype=np.float32)),
        "expected finite weights above 0",
    ),
    (altered(weights=lambda batch: np.ones(3)), r"expected weights as float32\(1,\), found float64\(3,\)"),
    (
        altered(next_observations=lambda batch: batch.observations.copy()),
        "expected a next observation of the same episode",
    ),
    (
        lambda uniform, view, generator, n: uniform(view, np.random.default_rng(), n),
        "expected the same batch (for the same state|of a new sampler)",  # by chance two may be the same
    ),
    (
        lambda uniform, view, generator, n: (write(view), uniform(view, generator, n))[1],
        "expected the buffer unchanged",
    ),
    (
        lambda uniform, view, generator, n: in_turn(uniform, view, n),
        "expected the same batch of a new sampler, as after a resume",
    ),
    (
        lambda uniform, view, generator, n: two_steps(view, generator, n),
        "expected a next observation of the same",
    ),
]


class Altered:
    """A sampler of ours some of whose methods are replaced."""

    def __init__(self, sampler: Any, methods: dict[str, Callable[..., Any]]) -> None:
        self._sampler = sampler
        for name in ("receive", "state", "load_state", "relabelled"):
            if hasattr(sampler, name):
                change = methods.get(name)
                own = getattr(sampler, name)
                setattr(self, name, own if change is None else partial(change, own))

    def __call__(self, view: BufferView, generator: np.random.Generator, n: int) -> Batch:
        batch: Batch = self._sampler(view, generator, n)
        return batch


LOST = {"priorities": np.zeros(0), "highest": np.array(1.0), "counts": np.zeros(2, dtype=np.int64)}
OTHERS: list[tuple[type[SamplerConfig], dict[str, Callable[..., Any]], str]] = [
    (PrioritisedConfig, {"state": lambda own: own() | LOST}, "expected the same batch of a new sampler"),
    (
        PrioritisedConfig,
        {"load_state": lambda own, state: None},
        "load_state: expected a CheckpointError for",
    ),
    (
        PrioritisedConfig,
        {"state": lambda own: own() | {"counts": own()["counts"] * [1, 0]}},
        "expected the same (batch|state) of a",
    ),
    (
        HindsightConfig,
        {"relabelled": lambda own, one: shift(own(one), "state")},
        "expected the recorded 'state'",
    ),
    (
        HindsightConfig,
        {"relabelled": lambda own, one: shift(one, "desired")},
        "expected the observation unchanged",
    ),
]


def shift(observation: Observation, name: str) -> Observation:
    observation[name][...] += 1
    return observation


@pytest.mark.parametrize("fault", range(len(OTHERS)))
def test_broken_rules_of_samplers_with_more_methods_are_found(fault: int) -> None:
    config, methods, message = OTHERS[fault]

    class Other(config):  # type: ignore[misc, valid-type]
        def build_from(self, context: SamplerContext) -> Sampler:
            return Altered(super().build_from(context), methods)

    with pytest.raises(ContractError, match=message):
        check_sampler(Other.parse(config.example().as_tree()))


def test_rewards_of_a_new_goal_are_compared_with_the_tasks() -> None:
    class Stale(HindsightConfig):
        def build_from(self, context: SamplerContext) -> Sampler:
            context.require_rewards()
            zeros = SamplerContext(
                context.spec, context.discount, lambda: lambda o, a, n: (a[:, 0] * 0, a[:, 0] * 0)
            )
            return super().build_from(zeros)

    with pytest.raises(
        ContractError, match=r"expected reward and discount .* of the new goal, found \(0\.0, "
    ):
        check_sampler(Stale.parse(HindsightConfig.example().as_tree()))


TURNS: dict[int, int] = {}


def in_turn(uniform: Sampler, view: BufferView, n: int) -> Batch:
    """Draw by a counter of the sampler's own, which no checkpoint has."""
    TURNS[id(uniform)] = turn = TURNS.get(id(uniform), 0) + 1
    return uniform(view, np.random.default_rng(turn), n)


def two_steps(view: BufferView, generator: np.random.Generator, n: int) -> Batch:
    """Sum two rewards, those of two episodes too."""
    rows = generator.integers(0, len(view), size=n)
    more = np.minimum(1, view.added - 1 - view.numbers(rows))
    last, first = view.later(rows, more), view.gather(rows)
    rewards = first.rewards + more * 0.9 * view.rewards(last)
    discounts = np.where(view.terminations(last), 0.0, 0.9 ** (1.0 + more))
    return Batch(
        first.observations,
        first.actions,
        rewards.astype(np.float32),
        view.next_observations(last),
        discounts.astype(np.float32),
    )


@pytest.mark.parametrize("fault", range(len(FAULTS)))
def test_broken_rules_are_found(fault: int) -> None:
    with pytest.raises(
        ContractError, match=rf"sampler 'broken' breaks the contract of a sampler: .*{FAULTS[fault][1]}"
    ):
        check_sampler(Broken(name="broken", fault=fault))


def test_a_wrong_discount_of_another_goal_is_found() -> None:
    class Twice(FutureGoalsConfig):
        def build(self, spec: EnvSpec, discount: float) -> Sampler:
            sample = super().build(spec, discount)

            def changed(view: BufferView, generator: np.random.Generator, n: int) -> Batch:
                batch = sample(view, generator, n)
                return dataclasses.replace(batch, discounts=np.square(batch.discounts))

            return changed

    with pytest.raises(ContractError, match=r"expected the discount 0 or 0\.9 for .* another goal"):
        check_sampler(Twice(name="future_goals:FutureGoalsConfig", share=1.0, tolerance=0.05))


def test_a_sampler_that_refuses_every_task_is_refused() -> None:
    class Fussy(Broken):
        def build(self, spec: EnvSpec, discount: float) -> Sampler:
            raise ConfigError("replay.sampler: not today")

    with pytest.raises(ConfigError, match="not today"):
        check_sampler(Fussy(name="fussy", fault=0))
