"""The guards of one contract, armed: with thresholds in nanoseconds and task units."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from sacpipe.bundle.contract import Contract, check_safe_action, check_term_ages
from sacpipe.bundle.guards import GUARDS, WATCHDOG, Fallback, find_guard
from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.core.errors import BundleError, SacpipeError
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts, nanoseconds
from sacpipe.specs.env_spec import EnvSpec

_Question = tuple[str, Callable[[StepFacts], bool]]
"""Name of a guard, and its method that refuses a step."""


def guards_in_service(settings: RuntimeSettings) -> tuple[Guard, ...]:
    """Return the guards that a runtime asks, in order: listed ones and defaults, without those that are off.

    Guards of other packages come after ours, and before the deadline, which includes the time that they take.

    Raises:
        BundleError: a listed guard has no code that a robot can run.
    """
    listed = {guard.name: guard for guard in settings.guards}
    *ours, deadline = GUARDS.ours
    foreign = [name for name in listed if name not in GUARDS.ours]
    return tuple(
        guard for name in (*ours, *foreign, deadline) if (guard := _in_service(name, listed.get(name)))
    )


def _in_service(name: str, listed: object) -> Guard | None:
    if isinstance(listed, Guard):
        return listed
    if listed is not None:
        raise BundleError(
            f"guard '{name}': expected a subclass of sacpipe.robot.guards.guard.Guard, found another class. "
            "Correct its package."
        )
    found = find_guard(name)
    return found.default() if issubclass(found, Guard) else None


@dataclass(frozen=True, eq=False, slots=True)
class ArmedGuards:
    """Armed guards and settings of one contract, so that a step converts nothing."""

    observation: tuple[_Question, ...]
    """What each observation is asked, in order."""
    action: tuple[_Question, ...]
    """What each action is asked, in order."""
    guards: tuple[ArmedGuard, ...]
    limits: tuple[ArmedGuard, ...]
    """Guards that can limit an action, the bounds last."""
    fallbacks: dict[str, Fallback]
    reasons: dict[str, tuple[str, ...]]
    """Reasons of a decision, by cause."""
    discarding: frozenset[str]
    """Names of the guards whose refused observations are no data."""
    safe_action: list[float]
    max_last_steps: int
    ramp_steps: int
    stop_category: int
    watchdog_ns: int | None
    """Time without a step after which the watchdog stops the robot; None for no watchdog."""

    @classmethod
    def of(cls, settings: RuntimeSettings, contract: Contract, period_s: float | None) -> Self:
        """Arm the guards of a contract.

        Args:
            settings: Settings in service; a robot may replace the contract's.
            contract: Its spec has the ranges of the actions, its envelope those of the observations.
            period_s: Control period; None where the task has no clock, and times are not checked.

        Raises:
            BundleError: the safe action has another size than the task's actions or is out of bounds, a
                guard does not fit the contract, or an age limit is of an unknown term.
        """
        guards = guards_in_service(settings)
        try:
            check_term_ages(settings, contract.spec)
        except ValueError as exc:
            raise BundleError(f"{exc}.") from exc
        in_service = contract.model_copy(update={"runtime": settings})
        armed = [(guard, _arm(guard, in_service, period_s)) for guard in guards]
        watchdog = settings.watchdog_periods
        names = [guard.name for guard in guards]
        return cls(
            observation=tuple(_questions(armed, "refuses_observation")),
            action=tuple(_questions(armed, "refuses_action")),
            guards=tuple(one for _, one in armed),
            limits=tuple(one for guard, one in reversed(armed) if guard.can_limit),
            fallbacks={guard.name: guard.fallback for guard in guards},
            reasons={name: (name,) for name in (*names, WATCHDOG)},
            discarding=frozenset(guard.name for guard in guards if guard.discards_observation),
            safe_action=_safe_action(settings, contract.spec),
            max_last_steps=settings.max_last_steps,
            ramp_steps=settings.ramp_steps,
            stop_category=settings.stop_category,
            watchdog_ns=None if watchdog is None else nanoseconds(watchdog, period_s),
        )


def _arm(guard: Guard, contract: Contract, period_s: float | None) -> ArmedGuard:
    try:
        guard.check_task(contract.spec)
        return guard.arm(contract, period_s)
    except SacpipeError as exc:
        raise BundleError(f"guard '{guard.name}': {exc}") from exc
    except Exception as exc:  # another package's code
        reason = " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
        raise BundleError(
            f"guard '{guard.name}': expected one that fits the contract, found {reason}. Correct the section "
            "`runtime` of params.yaml and export the policy again."
        ) from exc


def _questions(armed: list[tuple[Guard, ArmedGuard]], method: str) -> Iterator[_Question]:
    """Yield the name and the method of each guard that overrides a method of `ArmedGuard`."""
    for guard, one in armed:
        if getattr(type(one), method) is not getattr(ArmedGuard, method):
            yield guard.name, getattr(one, method)


def _safe_action(settings: RuntimeSettings, spec: EnvSpec) -> list[float]:
    """Return the safe action; where the settings have none, the allowed action nearest to zero."""
    if settings.safe_action is None:
        return nearest_to_zero(spec)
    try:
        check_safe_action(settings.safe_action, spec)
    except ValueError as exc:
        raise BundleError(f"{exc}.") from exc
    return list(settings.safe_action)


def nearest_to_zero(spec: EnvSpec) -> list[float]:
    """Return zero, or the nearest value to zero in the range, for each action entry."""
    return [min(max(0.0, term.low), term.high) for term in spec.action]
