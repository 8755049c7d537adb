"""The contract test of a sampler: run `check_sampler` on a sampler of your own before you train with it.

Every observation of the test's episodes is unique, so each row of a batch is traced to its transitions.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ConfigError, ContractError
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers.base import SamplerConfig
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch
from sacpipe.testing.walk import Walk, walk_spec

_DISCOUNT = 0.9
_CAPACITY = 40
_FILLED_TO = (1, 2, 25, 41, 97)
"""Transitions after which batches are drawn: one alone, a part of the ring, the ring overwritten twice."""
_BATCH_SIZES = (1, 7, 64)
_SEED = 7
_TOLERANCE = 1e-5

_Mask = NDArray[np.bool_]


class _Rows(NamedTuple):
    """What the rows of a batch were traced to."""

    first: NDArray[np.int64]
    """Number of the transition that each row begins with."""
    last: NDArray[np.int64]
    """Number of the transition that each row's next observation belongs to."""
    relabelled: _Mask
    """Rows whose desired goal is another than the recorded one."""


def check_sampler(config: SamplerConfig) -> None:
    """Draw batches from buffers of all kinds and test every rule of a sampler.

    The tasks of the buffers have vectors alone, images too, and goals too; one environment fills a buffer, or
    three in turn. A sampler may refuse a task with a ConfigError, but not all of them.

    Args:
        config: Config of the sampler, such as its `example()`.

    Raises:
        ContractError: a rule is broken. The message has the sampler, the rule and what was found.
        ConfigError: the sampler refuses every task.
    """
    refusals: list[ConfigError] = []
    for is_goal_task, has_image in ((True, True), (True, False), (False, True), (False, False)):
        spec = walk_spec(goals=is_goal_task, image=has_image)
        try:
            config.build(spec, _DISCOUNT)
        except ConfigError as exc:
            refusals.append(exc)
            continue
        try:
            for num_environments in (1, 3):
                _check_on(config, spec, num_environments)
        except ContractError as exc:
            raise ContractError(f"sampler '{config.name}' breaks the contract of a sampler: {exc}") from exc
    if len(refusals) == 4:
        raise refusals[0]


def _check_on(config: SamplerConfig, spec: EnvSpec, num_environments: int) -> None:
    """Fill a ring beyond its end, and draw meanwhile. Each environment adds a part of the walk, in turn."""
    rounds = _FILLED_TO[-1]
    walk = Walk(spec, rounds * num_environments)
    buffer = ReplayBuffer(spec, _CAPACITY * num_environments, num_environments)
    view = buffer.view()
    added = np.arange(rounds * num_environments).reshape(num_environments, rounds).T.ravel()
    samplers = [config.build(spec, _DISCOUNT) for _ in range(2)]
    generators = [np.random.Generator(np.random.PCG64(_SEED)) for _ in samplers]
    for filled_to in _FILLED_TO:
        while view.added < filled_to * num_environments:
            buffer.add(walk.transition(added[view.added]))
        for n in _BATCH_SIZES:
            before, position = _everything(view), generators[0].bit_generator.state
            drawn = [
                _copied(sampler(view, random, n))
                for sampler, random in zip(samplers, generators, strict=True)
            ]
            _require(_everything(view) == before, "expected the buffer unchanged, found other values in it")
            _check_shapes(drawn[0], spec, n)
            same = all(_bytes(drawn[0])[name] == array for name, array in _bytes(drawn[1]).items())
            _require(same, "expected the same batch for the same state of the generator, found another one")
            again = config.build(spec, _DISCOUNT)(view, _generator_at(position), n)
            same = _bytes(drawn[0]) == _bytes(again)
            _require(same, "expected the same batch of a new sampler, as after a resume, found another one")
            rows = _traced(drawn[0], walk, held=added[view.added - len(view) : view.added])
            _check_numbers(drawn[0], rows, walk)


def _check_shapes(batch: Batch, spec: EnvSpec, n: int) -> None:
    _require(isinstance(batch, Batch), f"expected a Batch, found {type(batch).__name__}")
    number = np.dtype(np.float32)
    expected = {
        "actions": (number, (n, spec.action_dim)),
        "rewards": (number, (n,)),
        "discounts": (number, (n,)),
    }
    found: dict[str, NDArray[Any]] = {name: getattr(batch, name) for name in expected}
    for field in ("observations", "next_observations"):
        observations = getattr(batch, field)
        _require(
            observations.layout == spec.layout,
            f"expected {field} with the task's terms, found {observations.layout.shapes}",
        )
        for term in spec.layout.terms:
            expected[f"{field}['{term.name}']"] = np.dtype(term.dtype), (n, *term.shape)
            found[f"{field}['{term.name}']"] = observations[term.name]
    for name, (dtype, shape) in expected.items():
        array = found[name]
        _require(
            (array.dtype, array.shape) == (dtype, shape),
            f"expected {name} as {dtype}{shape}, found {array.dtype}{array.shape}",
        )


def _traced(batch: Batch, walk: Walk, held: NDArray[np.int64]) -> _Rows:
    """Find the transitions of each row, and compare every term and the action with theirs."""
    first = walk.numbers_of(batch.observations)
    last = walk.numbers_of(batch.next_observations) - 1
    _all(np.isin(first, held), "transitions that the buffer holds", first)
    follows = np.isin(last, held) & (last >= first) & (walk.episodes[last] == walk.episodes[first])
    _all(follows, "a next observation of the same episode", np.stack([first, last], axis=1))
    expected = (walk.observations(first), walk.next_observations(last))
    relabelled = np.zeros(len(first), dtype=np.bool_)
    for term in batch.observations.layout.terms:
        pairs = ((batch.observations, expected[0]), (batch.next_observations, expected[1]))
        same = [_rows_equal(found[term.name], wanted[term.name]) for found, wanted in pairs]
        if "desired_goal" in term.groups:
            relabelled |= ~(same[0] & same[1])
            agree = _rows_equal(batch.observations[term.name], batch.next_observations[term.name])
            _all(agree, f"the same '{term.name}' before and after the step")
        else:
            _all(same[0] & same[1], f"the recorded '{term.name}'")
    _all(_rows_equal(batch.actions, walk.actions[first]), "the recorded action")
    return _Rows(first, last, relabelled)


def _check_numbers(batch: Batch, rows: _Rows, walk: Walk) -> None:
    """Compare rewards and discounts with the transitions', where the goal is the recorded one."""
    discounts, rewards = batch.discounts.astype(np.float64), batch.rewards
    _all(np.isfinite(rewards), "finite rewards", rewards)
    allowed = (discounts >= 0) & (discounts <= _DISCOUNT * (1 + _TOLERANCE))
    _all(allowed, f"discounts in [0, {_DISCOUNT}]", discounts)
    for row, (first, last) in enumerate(zip(rows.first, rows.last, strict=True)):
        factors = _DISCOUNT ** np.arange(last - first + 2)
        if rows.relabelled[row]:
            possible = bool(discounts[row] == 0) or abs(discounts[row] - factors[-1]) <= _TOLERANCE
            _require(
                possible,
                f"expected the discount 0 or {factors[-1]:g} for transitions {first} to {last} of another "
                f"goal, found {discounts[row]:g} in row {row}",
            )
            continue
        discount = 0.0 if walk.terminations[last] else float(factors[-1])
        what = f"for transitions {first} to {last}, found"
        _require(
            abs(discounts[row] - discount) <= _TOLERANCE and (discounts[row] == 0) == (discount == 0),
            f"expected the discount {discount:g} {what} {discounts[row]:g} in row {row}",
        )
        reward = float(factors[:-1] @ walk.rewards[first : last + 1])
        _require(
            abs(rewards[row] - reward) <= _TOLERANCE * max(1.0, abs(reward)),
            f"expected the reward {reward:g} {what} {rewards[row]:g} in row {row}",
        )


def _generator_at(position: Any) -> np.random.Generator:
    """Return a generator at the position of another."""
    bits = np.random.PCG64()
    bits.state = position
    return np.random.Generator(bits)


def _everything(view: BufferView) -> list[bytes]:
    rows = np.arange(len(view))
    found = view.gather(rows)
    others = (found.terminations, found.truncations, view.steps_to_end(rows))
    return [array.tobytes() for array in others] + [*_bytes(found.batch(found.rewards)).values()]


def _bytes(batch: Batch) -> dict[str, bytes]:
    found = {name: getattr(batch, name).tobytes() for name in ("actions", "rewards", "discounts")}
    for field in ("observations", "next_observations"):
        found |= {f"{field}/{name}": array.tobytes() for name, array in getattr(batch, field).items()}
    return found


def _copied(batch: Batch) -> Batch:
    return Batch(
        batch.observations.copy(),
        batch.actions.copy(),
        batch.rewards.copy(),
        batch.next_observations.copy(),
        batch.discounts.copy(),
    )


def _rows_equal(left: NDArray[np.generic], right: NDArray[np.generic]) -> _Mask:
    equal: _Mask = (left == right).reshape(len(left), -1).all(axis=1)
    return equal


def _all(kept: _Mask, expected: str, found: NDArray[Any] | None = None) -> None:
    if not kept.all():
        row = int(np.argmin(kept))
        what = "another" if found is None else str(found[row])
        raise ContractError(f"expected {expected}, found {what} in row {row}.")


def _require(is_kept: bool, message: str) -> None:
    if not is_kept:
        raise ContractError(message + ".")
