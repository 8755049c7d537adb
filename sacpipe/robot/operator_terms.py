"""The operator's terms: how loose a bundle's tolerances and guards may be, and which guards may run.

A bundle states its own tolerances and guards. Without terms of the operator, a bundle with a golden tolerance
of the whole range or with all guards off would pass every other rule and replace a careful policy.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from sacpipe.bundle.contract import MAX_GOLDEN_STEPS, Contract
from sacpipe.bundle.guards import GUARDS, MAX_PERIODS, MAX_STEPS, Fallback, GuardField, GuardName
from sacpipe.bundle.runtime_settings import MAX_GUARDS, RuntimeSettings
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError
from sacpipe.robot.armed_guards import guards_in_service
from sacpipe.robot.guards.guard import Guard
from sacpipe.robot.guards.observation_old import ObservationOld
from sacpipe.robot.guards.sensor_frozen import SensorFrozen
from sacpipe.specs.env_spec import MAX_EPISODE_STEPS, MAX_PERIOD_S

_MAX_SHOWN = 10
"""Number of broken terms that an error shows."""
_Fallbacks = Annotated[tuple[Fallback, ...], Field(min_length=1)]


class OperatorTerms(Config):
    """Limits on what a bundle states of itself; part of `LoadGateSettings`."""

    max_golden_tolerance: float = Field(default=0.01, gt=0, le=1)
    """Maximum of `golden.tolerance`, as a share of each action's range."""
    min_golden_steps: int = Field(default=1, ge=1, le=MAX_GOLDEN_STEPS)
    """Minimum of `golden.num_steps`."""
    max_control_period_s: float | None = Field(default=None, gt=0, le=MAX_PERIOD_S)
    """Maximum of `spec.control_period_s`, in seconds; a task without a clock is then refused, because its
    times are not checked. Null for any task."""
    max_envelope: float = Field(default=1e6, gt=0)
    """Maximum magnitude of `envelope.low` and `envelope.high`: an envelope of everything refuses nothing."""
    max_longest_constant: int | None = Field(default=None, ge=1, le=MAX_EPISODE_STEPS + 1)
    """Maximum of each number of `envelope.longest_constant`. Null for one more than the `max_repeats` of
    `sensor_frozen` in `weakest_guards`, for the terms there; for any number where it is not listed."""
    max_last_steps: int = Field(default=25, ge=1, le=MAX_STEPS)
    """Maximum of `runtime.max_last_steps`."""
    max_blend_steps: int = Field(default=1000, ge=0, le=MAX_STEPS)
    """Maximum of `runtime.blend_steps`."""
    max_ramp_steps: int = Field(default=1000, ge=0, le=MAX_STEPS)
    """Maximum of `runtime.ramp_steps`."""
    max_watchdog_periods: float | None = Field(default=None, gt=0, le=MAX_PERIODS)
    """Maximum of `runtime.watchdog_periods`, in control periods; a bundle without a watchdog is then refused.
    Null for any bundle."""
    max_term_age_periods: float | None = Field(default=None, gt=0, le=MAX_PERIODS)
    """Maximum of each number of `runtime.term_max_age_periods`, in control periods. Null for the limit of
    `observation_old`: that in `weakest_guards`, else that of its class."""
    stop_categories: tuple[Literal[0, 1, 2], ...] = Field(default=(0, 1, 2), min_length=1, max_length=3)
    """Allowed values of `runtime.stop_category`."""
    enabled_guards: tuple[GuardName, ...] = Field(default=(), max_length=MAX_GUARDS)
    """Names of guards of installed packages whose code a bundle may run; the product's need no entry."""
    weakest_guards: tuple[GuardField, ...] = Field(default=(), max_length=MAX_GUARDS)
    """Loosest settings of guards. A bundle must have each of these guards; their fallbacks are not read. A
    guard that is not listed has the limits of its class."""
    allowed_fallbacks: dict[GuardName, _Fallbacks] = Field(default={}, max_length=MAX_GUARDS)
    """Allowed fallbacks by guard. A guard that is not named may have any that its class allows."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = [name for name in self.allowed_fallbacks if name not in GUARDS]
        if unknown:
            raise ValueError(f"allowed_fallbacks: expected names of guards, found '{unknown[0]}'")
        names = [guard.name for guard in self.weakest_guards]
        if len(set(names)) != len(names):
            raise ValueError("weakest_guards: expected each guard once")
        return self


class _Term(NamedTuple):
    """One comparison of a contract's value with the operator's bound."""

    key: str
    """Key in contract.json."""
    found: object
    term: str
    """Key in the `gate` section of the file of --terms."""
    expected: str
    is_kept: bool


def check_guard_names(contract: bytes, terms: OperatorTerms) -> None:
    """Check that a bundle lists only guards whose code may run here.

    This comes before contract.json is parsed, because parsing imports the code of the guards. Bytes of
    another form pass: the rule `contract` refuses them.

    Args:
        contract: Bytes of contract.json.
        terms: The operator's terms.

    Raises:
        BundleError: names the guard that is not enabled. The rule is `terms`.
    """
    for name in _listed_names(contract):
        if name not in GUARDS.ours and name not in terms.enabled_guards:
            raise BundleError(
                "contract.json: runtime.guards: expected guards of sacpipe, or those enabled here "
                f"(gate.enabled_guards), found '{name[:64]}'. Install the package that has it, and enable it "
                "by its name in the file of --terms.",
                "terms",
            )


def _listed_names(contract: bytes) -> list[str]:
    try:
        tree: Any = json.loads(contract)
    except (ValueError, RecursionError):
        return []
    runtime = tree.get("runtime") if isinstance(tree, dict) else None
    guards = runtime.get("guards") if isinstance(runtime, dict) else None
    entries = guards if isinstance(guards, list) else []
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    return [name for name in names if isinstance(name, str)]


def check_terms(contract: Contract, terms: OperatorTerms) -> None:
    """Check that a bundle is within the operator's terms.

    Raises:
        BundleError: names the keys that are not, the bundle's value, the operator's bound and what to do. The
            rule is `terms`.
    """
    compared = (*_contract_terms(contract, terms), *_runtime_terms(contract.runtime, terms))
    broken = [
        f"{term.key}: expected {term.expected} (gate.{term.term}), found {term.found}"
        for term in (*compared, *_guard_terms(contract, terms))
        if not term.is_kept
    ]
    if broken:
        more = f"; and {len(broken) - _MAX_SHOWN} more" if len(broken) > _MAX_SHOWN else ""
        raise BundleError(
            f"contract.json: {'; '.join(broken[:_MAX_SHOWN])}{more}. Export the policy again with "
            "stricter settings, or allow this in the file of --terms.",
            "terms",
        )


def _contract_terms(contract: Contract, terms: OperatorTerms) -> Iterator[_Term]:
    golden, envelope = contract.golden, contract.envelope
    yield _at_most("golden.tolerance", golden.tolerance, "max_golden_tolerance", terms.max_golden_tolerance)
    steps, min_steps = golden.num_steps, terms.min_golden_steps
    yield _Term("golden.num_steps", steps, "min_golden_steps", f"at least {min_steps}", steps >= min_steps)
    period_s, max_s = contract.spec.control_period_s, terms.max_control_period_s
    if max_s is not None:
        yield _at_most("spec.control_period_s", period_s, "max_control_period_s", max_s)
    values = (abs(value) for limits in (envelope.low, envelope.high) for value in _flat(limits.values()))
    yield _at_most("envelope: magnitude", max(values, default=0.0), "max_envelope", terms.max_envelope)
    yield from _longest_constants(envelope.longest_constant, terms)


def _longest_constants(runs: Mapping[str, int], terms: OperatorTerms) -> Iterator[_Term]:
    """Bound the runs of equal values: `sensor_frozen` allows them, so they could turn it off."""
    key = "envelope.longest_constant"
    if (bound := terms.max_longest_constant) is not None:
        yield _at_most(key, max(runs.values(), default=0), "max_longest_constant", bound)
        return
    for guard in terms.weakest_guards:
        if isinstance(guard, SensorFrozen):
            term = "weakest_guards.sensor_frozen; gate.max_longest_constant may allow more"
            for name in sorted(runs) if guard.terms is None else guard.terms:
                yield _at_most(f"{key}.{name}", runs.get(name, 1), term, guard.max_repeats + 1)


def broken_settings(runtime: RuntimeSettings, terms: OperatorTerms) -> list[str]:
    """Return the settings of a runtime, but for its guards, that are not within the operator's terms."""
    broken = (term for term in _runtime_terms(runtime, terms) if not term.is_kept)
    return [
        f"{term.key.removeprefix('runtime.')} is {term.found} instead of {term.expected}" for term in broken
    ]


def _runtime_terms(runtime: RuntimeSettings, terms: OperatorTerms) -> Iterator[_Term]:
    for key in ("last_steps", "blend_steps", "ramp_steps"):
        name, bound = key if key != "last_steps" else "max_last_steps", f"max_{key}"
        yield _at_most(f"runtime.{name}", getattr(runtime, name), bound, getattr(terms, bound))
    if (max_periods := terms.max_watchdog_periods) is not None:
        found = runtime.watchdog_periods
        yield _at_most("runtime.watchdog_periods", found, "max_watchdog_periods", max_periods)
    term, bound_periods = _max_term_age(terms)
    for name, periods in runtime.term_max_age_periods.items():
        yield _at_most(f"runtime.term_max_age_periods.{name}", periods, term, bound_periods)
    category, allowed = runtime.stop_category, terms.stop_categories
    expected = f"one of {', '.join(map(str, allowed))}"
    yield _Term("runtime.stop_category", category, "stop_categories", expected, category in allowed)


def _max_term_age(terms: OperatorTerms) -> tuple[str, float]:
    """Return the key of the bound on a term's age, and the bound in control periods."""
    if terms.max_term_age_periods is not None:
        return "max_term_age_periods", terms.max_term_age_periods
    listed = (guard.max_age_periods for guard in terms.weakest_guards if isinstance(guard, ObservationOld))
    periods = next(listed, ObservationOld.weakest_keys["max_age_periods"])
    return "weakest_guards.observation_old; gate.max_term_age_periods may allow more", periods


def _guard_terms(contract: Contract, terms: OperatorTerms) -> Iterator[_Term]:
    guards = guards_in_service(contract.runtime)
    listed = {guard.name: guard for guard in terms.weakest_guards}
    for name in sorted(listed.keys() - {guard.name for guard in guards}):
        yield _Term(f"runtime.guards.{name}", "none", f"weakest_guards.{name}", "this guard", False)
    for guard in guards:
        try:
            yield from _compare(guard, listed.get(guard.name), terms.allowed_fallbacks.get(guard.name))
        except Exception as exc:  # another package's code compares its own settings
            reason = " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
            raise BundleError(
                f"guard '{guard.name}': expected a comparison with gate.weakest_guards, found {reason}. "
                "Correct its package.",
                "terms",
            ) from exc


def _compare(guard: Guard, listed: Any, fallbacks: tuple[Fallback, ...] | None) -> Iterator[_Term]:
    """Yield the settings of a guard that are looser than the operator's, and its fallback."""
    key, kind = f"runtime.guards.{guard.name}", type(guard)
    weakest = kind.weakest() if listed is None else listed
    for setting in () if weakest is None else guard.looser_keys(weakest):
        bound = getattr(weakest, setting)
        expected = f"at most {bound:g}" if isinstance(bound, int | float) else f"at least {bound}"
        found = getattr(guard, setting)
        yield _Term(f"{key}.{setting}", found, f"weakest_guards.{guard.name}", expected, False)
    allowed = kind.allowed_fallbacks() if fallbacks is None else fallbacks
    expected, is_kept = f"one of {', '.join(allowed)}", guard.fallback in allowed
    yield _Term(f"{key}.fallback", guard.fallback, f"allowed_fallbacks.{guard.name}", expected, is_kept)


def _at_most(key: str, found: float | None, term: str, bound: float) -> _Term:
    return _Term(key, found, term, f"at most {bound:g}", found is not None and found <= bound)


def _flat(rows: Iterable[tuple[float, ...]]) -> Iterator[float]:
    return (value for row in rows for value in row)
