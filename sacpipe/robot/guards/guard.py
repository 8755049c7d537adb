"""What a guard is: a config that is armed for a contract, and what then refuses observations or actions.

A guard is one file: a subclass of `Guard` with its thresholds, and a subclass of `ArmedGuard`. The product's
are listed in `GUARDS` (sacpipe/bundle/guards.py); another package registers its own under the entry points
`sacpipe.guards`. `sacpipe.testing.guards.check_guard` tests one.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, get_args

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import BOUNDED, Fallback, GuardConfig
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation

GuardKeys = Mapping[str, Any]
"""Settings of a guard by key, without its name."""

NEVER_NS = 2**63
"""A duration that no step exceeds."""


class StepFacts:
    """What a guard may know of a step. A runtime has one object, and writes it again at every step.

    A guard reads it and keeps no reference to its arrays.
    """

    __slots__ = (
        "action",
        "began_ns",
        "clock_ns",
        "is_complete",
        "is_start",
        "last_action",
        "last_stamp_ns",
        "last_term_stamps_ns",
        "observation",
        "oldest_stamp_ns",
        "stamp_ns",
        "term_stamps_ns",
    )

    def __init__(self, spec: EnvSpec, clock_ns: Callable[[], int]) -> None:
        self.observation: Observation = spec.layout.empty()
        """Last observation with all terms, in memory of the runtime's own."""
        self.observation.vector.fill(0.0)
        for image in self.observation.images.values():
            image.fill(0)
        self.is_complete = False
        """Whether the step's observation has every term of the contract, with its shape and type."""
        self.clock_ns = clock_ns
        """Clock of the stamps, in nanoseconds."""
        self.began_ns = 0
        """Time at which the step began, by `clock_ns`."""
        self.stamp_ns = 0
        """Stamp of the observation; the newest where each term has its own."""
        self.oldest_stamp_ns = 0
        """The oldest stamp of the observation."""
        self.term_stamps_ns: Mapping[str, int] | None = None
        """Stamp of each term; None where the observation has one stamp."""
        self.action: list[float] | None = None
        """Action that is executed if no guard refuses it, in task units; None where the policy failed."""
        self.begin_episode()

    def begin_episode(self) -> None:
        """Forget the last stamps and action."""
        self.is_start = True
        """Whether the policy has not acted in this episode yet."""
        self.last_stamp_ns = -NEVER_NS
        """Stamp of the last observation that was used."""
        self.last_term_stamps_ns: Mapping[str, int] | None = None
        """Its stamps by term; None where it had one stamp."""
        self.last_action: list[float] | None = None
        """Last executed action, in task units; None before the first."""


class ArmedGuard:
    """Checks the steps of one runtime. A guard overrides what it needs; the runtime calls nothing else."""

    def begin_episode(self) -> None:
        """Forget the episode before."""

    def refuses_observation(self, step: StepFacts) -> bool:
        """Return whether the observation must not reach the policy."""
        raise NotImplementedError

    def refuses_action(self, step: StepFacts) -> bool:
        """Return whether `step.action` must not be executed."""
        raise NotImplementedError

    def limit(self, step: StepFacts, action: list[float]) -> list[float]:
        """Return the allowed action that is nearest to an action."""
        raise NotImplementedError


class Guard(GuardConfig):
    """One guard: its config, and how it is armed."""

    discards_observation: ClassVar[bool] = False
    """Whether a refused observation is no data either: it is not recorded, and its stamp does not count."""
    armed: ClassVar[type[ArmedGuard] | None] = None
    """What `arm` makes of a guard without thresholds; another guard overrides `arm`."""
    default_keys: ClassVar[GuardKeys | None] = None
    """Settings of a contract that does not list the guard; None where the guard is then off."""
    weakest_keys: ClassVar[GuardKeys | None] = None
    """Thresholds of `weakest`, beside the default's other settings; None for any."""

    @classmethod
    def _of(cls, keys: GuardKeys) -> Self:
        (name,) = get_args(cls.model_fields["name"].annotation)
        return cls.model_validate({"name": name, **keys})

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation: the default, unless a guard has another."""
        found = cls.default()
        if found is None:
            raise NotImplementedError
        return found

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Turn a step that passes into one that the armed example refuses.

        Tests call it for one step after another, until the example refuses.

        Args:
            step: Facts of a step that passes.
            contract: Contract that the example was armed for.
        """
        raise NotImplementedError

    @classmethod
    def default(cls) -> Self | None:
        """Return the config of a contract that does not list the guard; None where the guard is then off."""
        return None if cls.default_keys is None else cls._of(cls.default_keys)

    @classmethod
    def weakest(cls) -> Self | None:
        """Return the loosest config that an operator without a setting of their own accepts; None for any."""
        return None if cls.weakest_keys is None else cls._of({**(cls.default_keys or {}), **cls.weakest_keys})

    @classmethod
    def allowed_fallbacks(cls) -> tuple[Fallback, ...]:
        """Return the fallbacks that an operator without a setting of their own accepts."""
        return (*BOUNDED, "limit") if cls.can_limit else BOUNDED

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard of one runtime, with thresholds in nanoseconds and task units.

        Args:
            contract: The contract, with the settings in service as its `runtime`.
            period_s: Control period in seconds; None where the task has no clock, and times are not checked.

        Raises:
            BundleError: the config does not fit the contract.
        """
        del contract, period_s
        if self.armed is None:
            raise NotImplementedError
        return self.armed()

    def looser_keys(self, weakest: Self) -> tuple[str, ...]:
        """Return the keys of the settings that refuse less than the operator's weakest config does.

        A number is looser where it is larger, and null where the other is a number. A guard with other
        settings overrides this.
        """
        keys = []
        for key in type(self).model_fields.keys() - {"name", "fallback"}:
            found, bound = getattr(self, key), getattr(weakest, key)
            if _is_number(bound) and (found is None or (_is_number(found) and found > bound)):
                keys.append(key)
        return tuple(sorted(keys))


def nanoseconds(periods: float, period_s: float | None) -> int:
    """Convert control periods; a task without a clock has times that no step exceeds."""
    return NEVER_NS if period_s is None else int(min(periods * period_s * 1e9, NEVER_NS))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
