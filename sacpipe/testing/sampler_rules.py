"""The rules that every batch of a sampler keeps, for the contract test."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ContractError
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch
from sacpipe.testing.walk import Walk

DISCOUNT = 0.9
"""Discount per step of the samplers under test."""
_TOLERANCE = 1e-5

Mask = NDArray[np.bool_]


class Rows(NamedTuple):
    """What the rows of a batch were traced to."""

    first: NDArray[np.int64]
    """Number of the transition that each row begins with."""
    last: NDArray[np.int64]
    """Number of the transition that each row's next observation belongs to."""
    relabelled: Mask
    """Rows whose desired goal is another than the recorded one."""


def check_shapes(batch: Batch, spec: EnvSpec, n: int) -> None:
    """Check shapes and types of all arrays, and that weights are positive."""
    require(isinstance(batch, Batch), f"expected a Batch, found {type(batch).__name__}")
    number = np.dtype(np.float32)
    expected = {
        "actions": (number, (n, spec.action_dim)),
        "rewards": (number, (n,)),
        "discounts": (number, (n,)),
    }
    if batch.weights is not None:
        expected["weights"] = (number, (n,))
    found: dict[str, NDArray[Any]] = {name: getattr(batch, name) for name in expected}
    for field in ("observations", "next_observations"):
        observations = getattr(batch, field)
        require(
            observations.layout == spec.layout,
            f"expected {field} with the task's terms, found {observations.layout.shapes}",
        )
        for term in spec.layout.terms:
            expected[f"{field}['{term.name}']"] = np.dtype(term.dtype), (n, *term.shape)
            found[f"{field}['{term.name}']"] = observations[term.name]
    for name, (dtype, shape) in expected.items():
        array = found[name]
        require(
            (array.dtype, array.shape) == (dtype, shape),
            f"expected {name} as {dtype}{shape}, found {array.dtype}{array.shape}",
        )
    if batch.weights is not None:
        is_positive = np.isfinite(batch.weights) & (batch.weights > 0)
        require_all(is_positive, "finite weights above 0", batch.weights)


def trace(batch: Batch, walk: Walk, held: NDArray[np.int64]) -> Rows:
    """Find the transitions of each row, and compare every term and the action with theirs."""
    first = walk.numbers_of(batch.observations)
    last = walk.numbers_of(batch.next_observations) - 1
    require_all(np.isin(first, held), "transitions that the buffer holds", first)
    follows = np.isin(last, held) & (last >= first) & (walk.episodes[last] == walk.episodes[first])
    require_all(follows, "a next observation of the same episode", np.stack([first, last], axis=1))
    expected = (walk.observations(first), walk.next_observations(last))
    relabelled = np.zeros(len(first), dtype=np.bool_)
    for term in batch.observations.layout.terms:
        pairs = ((batch.observations, expected[0]), (batch.next_observations, expected[1]))
        same = [rows_equal(found[term.name], wanted[term.name]) for found, wanted in pairs]
        if "desired_goal" in term.groups:
            relabelled |= ~(same[0] & same[1])
            agree = rows_equal(batch.observations[term.name], batch.next_observations[term.name])
            require_all(agree, f"the same '{term.name}' before and after the step")
        else:
            require_all(same[0] & same[1], f"the recorded '{term.name}'")
    require_all(rows_equal(batch.actions, walk.actions[first]), "the recorded action")
    return Rows(first, last, relabelled)


def check_numbers(batch: Batch, rows: Rows, walk: Walk, *, knows_rewards: bool) -> None:
    """Compare rewards and discounts with the transitions', where the goal is the recorded one.

    For another goal they are those of the task's reward function, if the sampler asked for it.
    """
    discounts, rewards = batch.discounts.astype(np.float64), batch.rewards
    require_all(np.isfinite(rewards), "finite rewards", rewards)
    allowed = (discounts >= 0) & (discounts <= DISCOUNT * (1 + _TOLERANCE))
    require_all(allowed, f"discounts in [0, {DISCOUNT}]", discounts)
    for row, (first, last) in enumerate(zip(rows.first, rows.last, strict=True)):
        factors = DISCOUNT ** np.arange(last - first + 2)
        if rows.relabelled[row]:
            possible = bool(discounts[row] == 0) or abs(discounts[row] - factors[-1]) <= _TOLERANCE
            require(
                possible,
                f"expected the discount 0 or {factors[-1]:g} for transitions {first} to {last} of another "
                f"goal, found {discounts[row]:g} in row {row}",
            )
            if knows_rewards and first == last:
                _check_computed(batch, row, walk)
            continue
        discount = 0.0 if walk.terminations[last] else float(factors[-1])
        what = f"for transitions {first} to {last}, found"
        require(
            abs(discounts[row] - discount) <= _TOLERANCE and (discounts[row] == 0) == (discount == 0),
            f"expected the discount {discount:g} {what} {discounts[row]:g} in row {row}",
        )
        reward = float(factors[:-1] @ walk.rewards[first : last + 1])
        require(
            abs(rewards[row] - reward) <= _TOLERANCE * max(1.0, abs(reward)),
            f"expected the reward {reward:g} {what} {rewards[row]:g} in row {row}",
        )


def _check_computed(batch: Batch, row: int, walk: Walk) -> None:
    """Compare reward and discount of one row with the task's reward function."""
    one = slice(row, row + 1)
    (reward,), (termination,) = walk.compute_rewards(
        batch.observations.rows(one), batch.actions[one], batch.next_observations.rows(one)
    )
    found = float(batch.rewards[row]), float(batch.discounts[row])
    expected = float(reward), 0.0 if termination else DISCOUNT
    require(
        bool(np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE)),
        f"expected reward and discount {expected} of the new goal, found {found} in row {row}",
    )


def rows_equal(left: NDArray[np.generic], right: NDArray[np.generic]) -> Mask:
    """Return which rows of two arrays are the same. Shape (n,)."""
    equal: Mask = (left == right).reshape(len(left), -1).all(axis=1)
    return equal


def require_all(kept: Mask, expected: str, found: NDArray[Any] | None = None) -> None:
    """Raise a ContractError about the first row that a rule does not hold for."""
    if not kept.all():
        row = int(np.argmin(kept))
        what = "another" if found is None else str(found[row])
        raise ContractError(f"expected {expected}, found {what} in row {row}.")


def require(is_kept: bool, message: str) -> None:
    """Raise a ContractError unless a rule is kept."""
    if not is_kept:
        raise ContractError(message + ".")
