"""The export: the error of the ONNX file against the trained network, and its observations and actions."""

from sacpipe.bundle.contract import Contract
from sacpipe.export.config import ExportMetrics
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
        _parity(data.parity),
        facts(_facts(data, contract)),
        tag("h3", "Observation"),
        _observation(contract.spec),
        tag("h3", "Action"),
        _action(contract.spec),
    )


def _parity(parity: ExportMetrics) -> Markup:
    """Return the largest error as text, and its share of the bound as a bar."""
    error, bound = parity.parity_max_error, parity.parity_tolerance
    share = min(error / bound, 1.0)
    text = f"{_ratio(error)} of the action range; the bound is {_ratio(bound)}"
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
    spec, parity = contract.spec, data.parity
    period = spec.control_period_s
    clock = (
        "the task has no clock"
        if period is None
        else f"{numbers.number(period)} s, {numbers.number(1 / period)} Hz"
    )
    limit = "none" if spec.max_episode_steps is None else f"{numbers.count(spec.max_episode_steps)} steps"
    tested = f"{numbers.count(parity.parity_observations)} observations"
    return [
        ("Bundle digest", digest(data.bundle.digest)),
        ("Control period", clock),
        ("Time limit", limit),
        (
            "Error on random and extreme input",
            f"{_ratio(parity.parity_max_error_synthetic)}, {tested} in all",
        ),
        (
            "Golden sequence",
            f"{numbers.count(contract.golden.num_steps)} steps, within {_ratio(contract.golden.tolerance)}",
        ),
        ("ONNX", f"operator set {contract.onnx.opset_version}, IR version {contract.onnx.ir_version}"),
        ("Operators", ", ".join(contract.onnx.operators)),
        ("Guards", ", ".join(guard.name for guard in contract.runtime.guards) or "the runtime's defaults"),
        ("policy.onnx", numbers.size(len(data.bundle.policy_onnx))),
    ]


def _observation(spec: EnvSpec) -> Markup:
    rows: list[list[Child]] = [
        [term.name, " x ".join(map(str, term.shape)) or "one number", term.dtype, term.unit, term.source]
        for term in spec.observation
    ]
    columns = ("Term", "Shape", "Type", "Unit", "Source")
    entries = sum(term.size for term in spec.observation)
    return _tall(table(f"Observation, {entries} entries", columns, rows, numeric_from=9), len(rows))


def _action(spec: EnvSpec) -> Markup:
    rows: list[list[Child]] = [
        [term.name, term.unit, numbers.number(term.low), numbers.number(term.high)] for term in spec.action
    ]
    columns = ("Entry", "Unit", "Lowest", "Highest")
    return _tall(table(f"Action, {spec.action_dim} entries", columns, rows, numeric_from=2), len(rows))


def _tall(inner: Markup, num_rows: int) -> Markup:
    return tag("div", inner, class_="tall") if num_rows > _MAX_ROWS else inner
