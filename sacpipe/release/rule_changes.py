"""How the rules of the working params.yaml differ from those that judged, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from sacpipe.core.files import canonical_json
from sacpipe.release.config import ReleaseConfig

_SHOWN = 3


def rule_changes(used: ReleaseConfig, working: ReleaseConfig) -> str:
    """Return what is other in the working section, e.g. `floor.min_return_mean 20 instead of 10`.

    Args:
        used: The section that judged: of the candidate's commit.
        working: The section of params.yaml as it is.

    Returns:
        The first differences and the number of the others; empty where the sections are equal.
    """
    found = list(_differences(_by_name(used), _by_name(working)))
    more = [f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return ", ".join([*found[:_SHOWN], *more])


def _by_name(section: ReleaseConfig) -> dict[str, dict[str, Any]]:
    """Return the keys of each rule by its name, and the section's other keys under the empty name."""
    tree = section.as_tree()
    return {"": {key: value for key, value in tree.items() if key != "rules"}} | {
        rule["name"]: rule for rule in tree["rules"]
    }


def _differences(
    used: Mapping[str, Mapping[str, Any]], working: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    for name, keys in working.items():
        if name not in used:
            yield f"with rule {name}"
            continue
        for key, value in keys.items():
            if value != used[name][key]:
                path = f"{name}.{key}" if name else key
                yield f"{path} {_in_words(value)} instead of {_in_words(used[name][key])}"
    yield from (f"without rule {name}" for name in used if name not in working)


def _in_words(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else canonical_json(value)
