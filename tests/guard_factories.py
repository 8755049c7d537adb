"""Settings of a runtime for the tests, with changes to single guards."""

from collections.abc import Mapping
from typing import Any

from bundle_factories import make_runtime

from sacpipe.bundle.guards import GUARDS, GuardConfig, find_guard
from sacpipe.bundle.runtime_settings import RuntimeSettings


def make_guard(name: str, **changes: Any) -> GuardConfig:
    """A guard's default config, or its example where the default is off, with changes."""
    guard = find_guard(name)
    return (guard.default() or guard.example()).replace(**changes)


def make_settings(
    guards: Mapping[str, Mapping[str, Any]] | None = None, *, fallbacks: Any = None, **changes: Any
) -> RuntimeSettings:
    """Settings with the default guards.

    Args:
        guards: Changed thresholds by guard; a guard that is off by default is then on.
        fallbacks: Changed fallbacks by guard, or one for all guards that are on by default.
        changes: Other changed keys.
    """
    if isinstance(fallbacks, str):
        ours = {name: find_guard(name) for name in GUARDS.ours}
        fallbacks = {name: fallbacks for name, guard in ours.items() if guard.default() is not None}
    thresholds = guards or {}
    kinds = {name: {"fallback": fallback} for name, fallback in (fallbacks or {}).items()}
    names = dict.fromkeys((*thresholds, *kinds))
    listed = [make_guard(name, **thresholds.get(name, {}), **kinds.get(name, {})).as_tree() for name in names]
    return make_runtime(**changes | {"guards": listed})
