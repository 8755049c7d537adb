"""The params section: all of params.yaml, one table for each of its sections."""

import json
from collections.abc import Mapping
from typing import Any

from sacpipe.report.data import ReportData
from sacpipe.report.dvc_lock import flattened
from sacpipe.report.elements import breakable, section
from sacpipe.report.markup import Markup, tag


def params(data: ReportData) -> Markup:
    """Return the section of params. No param has a default, so params.yaml has every value."""
    top_level = {key: value for key, value in data.params.items() if not isinstance(value, Mapping)}
    sections = {key: value for key, value in data.params.items() if isinstance(value, Mapping)}
    cards = [_card("top level", top_level)] if top_level else []
    cards += [_card(name, tree) for name, tree in sections.items()]
    lead = "All of params.yaml. No param has a default in the code."
    return section("params", "Params", lead, tag("div", cards, class_="cards"))


def _card(name: str, tree: Mapping[str, Any]) -> Markup:
    rows = [
        tag("tr", tag("th", breakable(key), scope="row"), tag("td", breakable(_shown(value))))
        for key, value in flattened(tree).items()
        if key
    ]
    return tag("table", tag("caption", name), tag("tbody", rows), class_="card")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
