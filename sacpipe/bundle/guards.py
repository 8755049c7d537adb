"""Guards of the robot's runtime by name: the table, the base class of their configs, the tagged list's type.

A guard is one file with its config, thresholds and check (sacpipe/robot/guards/). Contracts and params.yaml
name registered guards only, the product's and those of installed packages, never an import path: nothing that
comes from outside chooses code. A robot runs the guard of an installed package only where its operator
enabled the name.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import PlainSerializer, PlainValidator, StringConstraints, ValidationError, model_validator

from sacpipe.bundle.canonical_json import explain
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.members import MemberKey, Members
from sacpipe.specs.env_spec import EnvSpec

Fallback = Literal["last", "hold", "zero", "safe", "stop", "limit"]
"""The action that the runtime executes when a guard refuses the step.

    last     the last executed action again, at most `max_last_steps` times in a row, then `stop`
    hold     the last executed action again, without a limit
    zero     zero, or the nearest value to zero in the action's range
    safe     `safe_action`
    stop     `safe_action` in this step and all later ones, until the operator clears the stop
    limit    the policy's action, limited to the allowed range; only for guards of actions that have a nearest
             allowed action
"""

BOUNDED: tuple[Fallback, ...] = ("last", "zero", "safe", "stop")
"""Fallbacks that do not repeat an action without a limit, as `hold` does."""

MAX_PERIODS = 1e6
"""Upper bound of the settings that count control periods. Operators set lower ones (`OperatorTerms`)."""
MAX_MARGIN = 1e6
"""Upper bound of the margins of an envelope."""
MAX_STEPS = 1_000_000
"""Upper bound of the settings that count steps."""

WATCHDOG = "watchdog"
"""Cause of a stop because no step came; no guard has this name."""

GuardName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""The name of a guard, and of the cause that it gives."""

_NAMES = """
    shape observation_not_finite observation_repeated observation_out_of_order observation_old
    observation_from_future sensor_frozen start_outside_envelope outside_envelope inference_failed
    action_not_finite action_outside_bounds action_change deadline_missed
"""
GUARDS = Members(
    "guard",
    "sacpipe.guards",
    {name: f"sacpipe.robot.guards.{name}:{name.title().replace('_', '')}" for name in _NAMES.split()},
)
"""All guards, in the order in which a step asks them: the first refusal is the cause."""


class GuardConfig(Config):
    """Thresholds and fallback of one guard. `sacpipe.robot.guards.guard.Guard` adds its code."""

    name: GuardName
    """Registered name; also the cause in decisions, recordings and statistics."""
    fallback: Fallback
    """Action that is executed when the guard refuses a step."""

    can_limit: ClassVar[bool] = False
    """Whether a refused action has a nearest allowed one, so that the fallback `limit` is possible."""

    @model_validator(mode="after")
    def _can_limit(self) -> Self:
        if self.fallback == "limit" and not self.can_limit:
            raise ValueError(
                f"fallback: `limit` is not possible for {self.name}, because nothing that it refuses has a "
                "nearest allowed action. Choose last, hold, zero, safe or stop"
            )
        return self

    def check_task(self, spec: EnvSpec) -> None:
        """Check that the config fits a task.

        Args:
            spec: The policy's specification.

        Raises:
            ValueError: it does not, for example because it names a term that the task has not.
        """


def find_guard(name: str) -> type[GuardConfig]:
    """Return the config class of a registered guard.

    Raises:
        ConfigError: no package that is installed here has such a guard, or the package fails at import.
    """
    if name not in GUARDS:
        near = difflib.get_close_matches(name[:64], GUARDS.names(), n=3)
        raise ConfigError(
            f"no guard '{name[:64]}' is installed here. Install the package that has it, and enable it by "
            "its name in the operator's terms (enabled_guards)."
            + (f" The nearest here: {', '.join(near)}." if near else "")
        )
    found = GUARDS.find(name)
    if not (isinstance(found, type) and issubclass(found, GuardConfig)):
        raise ConfigError(f"guard '{name}': expected a subclass of GuardConfig, found {found!r}.")
    return found


def parse_guard(value: Any) -> GuardConfig:
    """Return the config of a guard from its JSON values; its `name` chooses among the registered guards.

    Raises:
        ValueError: no such guard is installed, or a value does not fit its config.
    """
    if isinstance(value, GuardConfig):
        return value
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str):
        raise _no_name()
    try:
        guard = find_guard(name).model_validate_json(json.dumps(value))
    except ConfigError as exc:
        raise ValueError(str(exc).removesuffix(".")) from exc
    except ValidationError as exc:
        raise ValueError(f"guard '{name}': {explain(exc, 'the guard')}") from exc
    if guard.name != name:
        raise ValueError(f"guard '{name}': expected a config of this name, found '{guard.name}'")
    return guard


def _no_name() -> ValueError:
    return ValueError("expected `name`, the registered name of a guard")


GuardField = Annotated[
    GuardConfig, MemberKey(GUARDS, "name"), PlainValidator(parse_guard), PlainSerializer(Config.as_tree)
]
"""One guard in a list of guards, tagged by its `name`."""
