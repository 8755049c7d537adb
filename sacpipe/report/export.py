"""The export: the error of the ONNX file against the trained network, and its observations and actions."""

from sacpipe.bundle.contract import Contract, ParityTerms
from sacpipe.report import numbers
from sacpipe.report.data import ReportData
from sacpipe.report.elements import digest, facts, section, table
from sacpipe.report.markup import Child, Markup, tag
from sacpipe.specs.env_spec import EnvSpec

_MAX_ROWS = 40
"""Rows of a table beyond which it scrolls in a box of fixed height."""


def export(data: ReportData) -> Markup:
    """Return the section of the bundle."""
    contract = data.bundle.contract
    lead = (
        "One ONNX file that takes raw observations and returns actions in the task's own units, "
        "with the contract below and golden sequences that every runtime must reproduce."
    )
    return section(
        "export",
        "Export",
        lead,
        _parity(contract.parity),
        facts(_facts(data, contract)),
        tag("h3", "Observation"),
        _observation(contract.spec),
        tag("h3", "Action"),
        _action(contract.spec),
    )


def _parity(parity: ParityTerms) -> Markup:
    """Return the largest error as text, and its share of the bound as a bar."""
    share = min(parity.max_error / parity.tolerance, 1.0)
    text = f"{_ratio(parity.max_error)} of the action range; the bound is {_ratio(parity.tolerance)}"
    return tag(
        "div",
        tag("p", tag("b", "Largest difference between network and ONNX: "), text, "."),
        tag(
            "div",
            tag("i", style=f"width:{max(share * 100, 0.5):.2f}%"),
            class_="meter",
            role="img",
            aria_label=text,
        ),
        class_="parity",
    )


def _ratio(value: float) -> str:
    return numbers.number(value)


def _facts(data: ReportData, contract: Contract) -> list[tuple[str, Child]]:
    spec, parity = contract.spec, contract.parity
    period = spec.control_period_s
    clock = (
        "the task has no clock"
        if period is None
        else f"{numbers.number(period)} s, {numbers.number(1 / period)} Hz"
    )
    limit = "none" if spec.max_episode_steps is None else f"{numbers.count(spec.max_episode_steps)} steps"
    tested = f"{numbers.count(parity.num_observations)} observations"
    return [
        ("Bundle digest", digest(data.bundle.digest)),
        ("Control period", clock),
        ("Time limit", limit),
        ("Error on random and extreme input", f"{_ratio(parity.synthetic_max_error)}, {tested} in all"),
        (
            "Golden sequence",
            f"{numbers.count(contract.golden.num_steps)} steps, within {_ratio(contract.golden.tolerance)}",
        ),
        ("ONNX", f"operator set {contract.onnx.opset_version}, IR version {contract.onnx.ir_version}"),
        ("Operators", ", ".join(contract.onnx.operators)),
        ("policy.onnx", numbers.size(len(data.bundle.policy_onnx))),
    ]


def _observation(spec: EnvSpec) -> Markup:
    rows: list[list[Child]] = []
    start = 0
    for term in spec.observation:
        last = start + term.size - 1
        rows.append(
            [term.name, str(start) if term.size == 1 else f"{start} to {last}", term.unit, term.source]
        )
        start += term.size
    columns = ("Term", "Entries", "Unit", "Source")
    return _tall(
        table(f"Observation, {spec.observation_dim} entries", columns, rows, numeric_from=9), len(rows)
    )


def _action(spec: EnvSpec) -> Markup:
    rows: list[list[Child]] = [
        [term.name, term.unit, numbers.number(term.low), numbers.number(term.high)] for term in spec.action
    ]
    columns = ("Entry", "Unit", "Lowest", "Highest")
    return _tall(table(f"Action, {spec.action_dim} entries", columns, rows, numeric_from=2), len(rows))


def _tall(inner: Markup, num_rows: int) -> Markup:
    return tag("div", inner, class_="tall") if num_rows > _MAX_ROWS else inner
