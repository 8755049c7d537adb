"""The operator's terms: how loose a bundle's tolerances, deadline and guards may be.

A bundle states its own tolerances and guards. Without terms of the operator, a bundle with a golden tolerance
of the whole range or with all guards off would pass every other rule and replace a careful policy.
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guard_settings import MAX_MARGIN, MAX_PERIODS, MAX_STEPS, Cause, Fallback
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError
from sacpipe.specs.env_spec import MAX_PERIOD_S

BOUNDED: tuple[Fallback, ...] = ("last", "zero", "safe", "stop")
"""Fallbacks that do not repeat an action without a limit, as `hold` does."""
DEFAULT_FALLBACKS: dict[Cause, tuple[Fallback, ...]] = {
    "shape": BOUNDED,
    "observation_not_finite": BOUNDED,
    "observation_old": BOUNDED,
    "observation_from_future": BOUNDED,
    "observation_repeated": BOUNDED,
    "observation_out_of_order": BOUNDED,
    "start_outside_envelope": BOUNDED,
    "inference_failed": BOUNDED,
    "action_not_finite": BOUNDED,
    "action_outside_bounds": (*BOUNDED, "limit"),
    "action_change": (*BOUNDED, "limit"),
    "deadline_missed": BOUNDED,
}


class WeakestGuards(Config):
    """The loosest guards that a bundle may have: one entry for each setting of its `guards`."""

    max_age_periods: float = Field(default=10.0, gt=0, le=MAX_PERIODS)
    """Maximum of `guards.max_age_periods`."""
    max_future_periods: float = Field(default=1.0, ge=0, le=MAX_PERIODS)
    """Maximum of `guards.max_future_periods`."""
    max_action_change: float = Field(default=1.0, gt=0, le=1)
    """Maximum of `guards.max_action_change`, as a share of the action's range; 1 allows all changes."""
    envelope_margin: float = Field(default=1.0, ge=0, le=MAX_MARGIN)
    """Maximum of `guards.envelope_margin`, as a share of each observation entry's range in training."""
    max_last_steps: int = Field(default=25, ge=1, le=MAX_STEPS)
    """Maximum of `guards.max_last_steps`."""
    blend_steps: int = Field(default=1000, ge=0, le=MAX_STEPS)
    """Maximum of `guards.blend_steps`."""
    fallbacks: dict[Cause, Annotated[tuple[Fallback, ...], Field(min_length=1)]] = DEFAULT_FALLBACKS
    """Allowed fallbacks of each cause; a cause that is not named may have any of the default."""


class OperatorTerms(Config):
    """Limits on what a bundle states of itself; part of `LoadGateSettings`."""

    max_golden_tolerance: float = Field(default=0.01, gt=0, le=1)
    """Maximum of `golden.tolerance`, as a share of each action's range."""
    max_parity_tolerance: float = Field(default=0.01, gt=0, le=1)
    """Maximum of `parity.tolerance`, as a share of each action's range."""
    min_golden_steps: int = Field(default=1, ge=1)
    """Minimum of `golden.num_steps`."""
    max_deadline_periods: float = Field(default=1.0, gt=0, le=MAX_PERIODS)
    """Maximum of `guards.deadline_periods`, in control periods."""
    max_control_period_s: float | None = Field(default=None, gt=0, le=MAX_PERIOD_S)
    """Maximum of `spec.control_period_s`, in seconds; a task without a clock is then refused, because its
    times are not checked. Null for any task."""
    max_envelope: float = Field(default=1e6, gt=0)
    """Maximum magnitude of `envelope.low` and `envelope.high`: an envelope of everything refuses nothing."""
    weakest_guards: WeakestGuards = WeakestGuards()
    """The loosest guards that a bundle may have."""


class _Term(NamedTuple):
    """One comparison of a contract's value with the operator's bound."""

    key: str
    """Key in contract.json."""
    found: float | str | None
    term: str
    """Key in the `gate` section of the file of --terms."""
    expected: str
    is_kept: bool


def check_terms(contract: Contract, terms: OperatorTerms) -> None:
    """Check that a bundle is within the operator's terms.

    Raises:
        BundleError: names every key that is not, the bundle's value, the operator's bound and what to do. The
            rule is `terms`.
    """
    broken = [
        f"{term.key}: expected {term.expected} (gate.{term.term}), found {term.found}"
        for term in _terms(contract, terms)
        if not term.is_kept
    ]
    if broken:
        raise BundleError(
            f"contract.json: {'; '.join(broken)}. Export the policy again with stricter settings, or allow "
            "this in the file of --terms.",
            "terms",
        )


def _terms(contract: Contract, terms: OperatorTerms) -> Iterator[_Term]:
    golden, parity, guards, weakest = contract.golden, contract.parity, contract.guards, terms.weakest_guards
    for key, found, term, bound in (
        ("golden.tolerance", golden.tolerance, "max_golden_tolerance", terms.max_golden_tolerance),
        ("parity.tolerance", parity.tolerance, "max_parity_tolerance", terms.max_parity_tolerance),
        (
            "guards.deadline_periods",
            guards.deadline_periods,
            "max_deadline_periods",
            terms.max_deadline_periods,
        ),
    ):
        yield _at_most(key, found, term, bound)
    steps, min_steps = golden.num_steps, terms.min_golden_steps
    yield _Term("golden.num_steps", steps, "min_golden_steps", f"at least {min_steps}", steps >= min_steps)
    period_s, max_s = contract.spec.control_period_s, terms.max_control_period_s
    if max_s is not None:
        is_kept = period_s is not None and period_s <= max_s
        yield _Term("spec.control_period_s", period_s, "max_control_period_s", f"at most {max_s:g}", is_kept)
    envelope = max(map(abs, (*contract.envelope.low, *contract.envelope.high)))
    yield _at_most("envelope: magnitude", envelope, "max_envelope", terms.max_envelope)
    for name in sorted(WeakestGuards.model_fields.keys() - {"fallbacks"}):
        found, bound = getattr(guards, name), getattr(weakest, name)
        yield _at_most(f"guards.{name}", found, f"weakest_guards.{name}", bound)
    for cause, default in DEFAULT_FALLBACKS.items():
        allowed = weakest.fallbacks.get(cause, default)
        fallback, key = getattr(guards.fallbacks, cause), f"fallbacks.{cause}"
        expected = f"one of {', '.join(allowed)}"
        yield _Term(f"guards.{key}", fallback, f"weakest_guards.{key}", expected, fallback in allowed)


def _at_most(key: str, found: float, term: str, bound: float) -> _Term:
    return _Term(key, found, term, f"at most {bound:g}", found <= bound)
