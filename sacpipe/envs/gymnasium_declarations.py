"""What a Gymnasium task, or a layer around it, declares of its observation: names, units and groups."""

from collections.abc import Mapping, Sequence
from typing import Any

from sacpipe.core.errors import ConfigError
from sacpipe.envs.gymnasium_layers import task_attribute
from sacpipe.envs.observation_reader import ObservationPart
from sacpipe.envs.step_values import foreign_text
from sacpipe.specs.terms import Group, Term, vector_term

_GROUPS: tuple[Group, ...] = ("policy", "critic", "achieved_goal", "desired_goal")


def declared_parts(task: str, env: Any, parts: Sequence[ObservationPart]) -> tuple[ObservationPart, ...]:
    """Return the arrays of an observation with the terms that the task declares in `observation_terms`.

    Args:
        task: Task suite and id without its module.
        env: The environment. Its attribute `observation_terms` maps the name of an entry of the observation
            to a list of (name, size, unit, source), in the order of the array's entries.
        parts: Arrays of the observation.

    Raises:
        ConfigError: an entry of `observation_terms` is no such list, or does not fill its array.
    """
    declared = _mapping(task, env, "observation_terms")
    known = {part.name for part in parts}
    if unknown := [key for key in declared if key not in known]:
        raise ConfigError(
            f"task '{task}': observation_terms: expected entries of the observation "
            f"({', '.join(sorted(known)[:20])}), found {unknown[0]!r}."
        )
    return tuple(
        part._replace(terms=_terms(task, part, declared[part.name])) if part.name in declared else part
        for part in parts
    )


def _terms(task: str, part: ObservationPart, listed: Any) -> tuple[Term, ...]:
    groups = part.terms[0].groups
    try:
        terms = tuple(
            vector_term(name, size, unit=unit, source=source, groups=groups)
            for name, size, unit, source in listed
        )
    except (TypeError, ValueError) as exc:
        raise ConfigError(
            f"task '{task}': observation_terms of '{part.name}': expected a list of (name, size, unit, "
            f"source), found {foreign_text(listed, repr)[:60]}."
        ) from exc
    if part.is_image or len(part.shape) != 1 or sum(term.size for term in terms) != part.shape[0]:
        raise ConfigError(
            f"task '{task}': observation_terms of '{part.name}': expected {part.shape} numbers in all, found "
            f"{sum(term.size for term in terms)}."
        )
    return terms


def regrouped_parts(task: str, env: Any, parts: Sequence[ObservationPart]) -> tuple[ObservationPart, ...]:
    """Return the arrays of an observation with the groups that the task declares in `observation_groups`.

    Args:
        task: Task suite and id without its module.
        env: The environment. Its attribute `observation_groups` maps the name of a term, or of an entry of
            the observation, to a list of groups.
        parts: Arrays of the observation.

    Raises:
        ConfigError: it is no mapping from names of entries to lists of groups.
    """
    groups: dict[str, tuple[Group, ...]] = {}
    for key, listed in _mapping(task, env, "observation_groups").items():
        members = [term.name for part in parts for term in part.terms if _is_of(key, term.name, part.name)]
        if not members:
            names = [term.name for part in parts for term in part.terms]
            raise ConfigError(
                f"task '{task}': observation_groups: expected entries of the observation "
                f"({', '.join(names[:20])}), found {key!r}."
            )
        is_list = isinstance(listed, list | tuple) and len(listed) > 0
        if not is_list or any(group not in _GROUPS for group in listed):
            raise ConfigError(
                f"task '{task}': observation_groups of '{key}': expected a list of {', '.join(_GROUPS)}, "
                f"found {foreign_text(listed, repr)[:60]}."
            )
        groups |= dict.fromkeys(members, tuple(group for group in _GROUPS if group in listed))
    return tuple(part._replace(terms=tuple(_regroup(term, groups) for term in part.terms)) for part in parts)


def _is_of(key: Any, *names: str) -> bool:
    return any(name == key or name.startswith(f"{key}/") for name in names if name)


def _mapping(task: str, env: Any, name: str) -> Mapping[Any, Any]:
    declared = task_attribute(env, name)
    if declared is None:
        return {}
    if not isinstance(declared, Mapping):
        found = foreign_text(declared, repr)[:60]
        raise ConfigError(f"task '{task}': {name}: expected a mapping, found {found}.")
    return declared


def _regroup(term: Term, groups: Mapping[str, tuple[Group, ...]]) -> Term:
    return term.replace(groups=groups[term.name]) if term.name in groups else term
