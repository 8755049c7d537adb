"""All of params.yaml, one table for each of its sections."""

import json
from collections.abc import Mapping
from typing import Any

from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section
from sacpipe.tracking.ledger_values import flattened


def build(outputs: Outputs) -> Section:
    """Return the section of params. No param has a default, so params.yaml has every value."""
    params = outputs.params
    cards = {name: tree for name, tree in params.items() if isinstance(tree, Mapping)}
    top_level = {name: value for name, value in params.items() if name not in cards}
    values = {"cards": {name: _rows(tree) for name, tree in ({"top level": top_level} | cards).items()}}
    return Section("Params", "params.html", values)


def _rows(tree: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return keys and values as text; of a list of named members, one row for each."""
    rows = []
    for key, value in flattened(tree).items():
        members = value if isinstance(value, list) else []
        if members and all(isinstance(one, Mapping) and "name" in one for one in members):
            for one in members:
                others = {name: one[name] for name in one if name != "name"}
                rows.append((f"{key}.{one['name']}", _shown(others)))
        else:
            rows.append((key, _shown(value)))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, dict) and value:
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    return value if isinstance(value, str) else json.dumps(value)
