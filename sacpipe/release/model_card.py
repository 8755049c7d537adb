"""The model card of a version: Markdown made of its outputs, its verdict and its digests.

It is the version's description in the registry. The same files give the same text: it has no time, no host
and no path. Where it would be too long, the rows of its long tables are cut first, and a line says so.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.errors import StoreError
from sacpipe.core.files import read_json
from sacpipe.project.dvc.lock_file import LockEntries, read_lock
from sacpipe.project.initial_pool import named_pool
from sacpipe.project.stage_key import locked_inputs, locked_outs
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.verdict import Verdict
from sacpipe.tracking.ledger_values import read_rows
from sacpipe.tracking.registry import VersionRecord

MAX_CHARS = 5000
"""Limit of MLflow's description of a version."""

_CUT = "\n\n*This card was cut at 5,000 characters.*\n"
_ROWS = (64, 32, 16, 8, 4, 2, 1)
"""Rows of the long tables, tried from the first on until the card is short enough."""
_CURVE_COLUMNS, _CURVE_POINTS = 60, 6
_BARS = "▁▂▃▄▅▆▇█"
_CURVE = "evaluation/deterministic/return_mean"
_TESTED_BY = {
    "observation_noise": "noise of the sensors",
    "dropouts": "observations that do not arrive",
    "delay": "delayed actions",
    "mass": "changed masses",
    "friction": "changed friction",
    "latency": "the time of a step",
}
"""What each rule of the release gate tests, by the rule's name: the card names what no rule has tested."""


class Curve(NamedTuple):
    """The returns of the evaluations during training."""

    line: str
    """One character an evaluation, or a mean of neighbours; its height is the return's place in the range."""
    low: float
    high: float
    points: tuple[tuple[int, float], ...]
    """Environment steps and return of some evaluations, the first and the last among them."""


def model_card(workspace: Workspace, version: VersionRecord, verdict: Verdict | None = None) -> str:
    """Return the card of a version as Markdown, at most `MAX_CHARS` characters.

    Args:
        workspace: Holds the outputs of the version's stages and their dvc.lock; the project itself, or a
            folder into which the outputs were restored. The bundle is needed, and the rest may be missing.
        version: The version, with its tags.
        verdict: Verdict of the release gate; None where it was not judged.

    Raises:
        BundleError: the bundle is missing or damaged.
        StoreError: another output cannot be read.
    """
    bundle, entries = open_bundle(workspace.bundle, follow_cache_links=True), read_lock(workspace.dvc_lock)
    values = _values(bundle, entries, version, verdict)
    values |= {"returns": _returns(workspace), "curve": _curve(workspace)}
    for rows in _ROWS:
        card = _render(values, rows)
        if len(card) <= MAX_CHARS:
            return card
    whole_lines = card[: MAX_CHARS - len(_CUT)].rpartition("\n")[0]
    return whole_lines + _CUT


def _render(values: Mapping[str, Any], rows: int) -> str:
    environment = Environment(
        loader=PackageLoader("sacpipe.release"),
        autoescape=select_autoescape(()),  # it writes Markdown, see `_safe`
        undefined=StrictUndefined,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    lines = environment.get_template("model_card.md").render(values, rows=rows).splitlines()
    return "\n".join(_single_blanks(lines)).rstrip() + "\n"


def _single_blanks(lines: Sequence[str]) -> Iterator[str]:
    """Return lines without a second blank line after a first."""
    for before, line in zip(("", *lines), lines, strict=False):
        if line or before:
            yield line


def _safe(value: Any) -> Any:
    """Return a text that cannot end a table's cell or begin HTML: names come from tasks and params."""
    if not isinstance(value, str):
        return value
    return " ".join(value.splitlines()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _values(
    bundle: Bundle, entries: LockEntries, version: VersionRecord, verdict: Verdict | None
) -> dict[str, Any]:
    """Return what the template shows of the contract, the stages' entries and the verdict."""
    contract = bundle.contract
    envelope = contract.envelope
    observations = [
        {
            **{name: getattr(term, name) for name in ("name", "dtype", "unit")},
            "shape": " x ".join(map(str, term.shape)) or "1",
            "low": _number(min(envelope.low[term.name])) if term.name in envelope.low else "0",
            "high": _number(max(envelope.high[term.name])) if term.name in envelope.high else "255",
        }
        for term in contract.spec.observation
    ]
    rules = set() if verdict is None else {finding.rule for finding in verdict.findings}
    untested = [text for rule, text in _TESTED_BY.items() if rule not in rules]
    return {
        "version": version,
        "verdict": verdict,
        "task": contract.spec.task,
        "algorithm": contract.provenance.algorithm,
        "confidence": _confidence(entries),
        "period_s": contract.spec.control_period_s,
        "max_steps": contract.spec.max_episode_steps,
        "actions": contract.spec.action,
        "observations": observations,
        "guards": [f"{guard.name}: {guard.fallback}" for guard in contract.runtime.guards] or ["none"],
        "untested": ["a robot, because every return here is of a simulator", *untested],
        "pools": list(_pools(entries)),
        "digests": list(_digests(entries, version)),
    }


def _pools(entries: LockEntries) -> Iterator[tuple[str, str]]:
    if "train" not in entries:
        return
    yield "training, out/train/pool (md5)", locked_outs(entries["train"]).get("out/train/pool", "unknown")
    if initial := named_pool(locked_inputs(entries["train"]).params.get("params.yaml", {})):
        yield "initial, data/pool (SHA-256 of its manifest)", initial


def _digests(entries: LockEntries, version: VersionRecord) -> Iterator[tuple[str, str]]:
    """Return the digests by which lineage finds the version's origin."""
    yield "bundle", version.bundle_digest
    if version.policy_sha256:
        yield "policy.onnx", version.policy_sha256
    for stage in STAGES:
        if stage in entries:
            yield f"stage key of {stage}", locked_inputs(entries[stage]).key
    for name, tag in (("params", "sacpipe.params_digest"), ("commit", "sacpipe.commit")):
        if found := version.tags.get(tag):
            yield name, found


def _confidence(entries: LockEntries) -> str:
    """Return the coverage of the return's interval, as the evaluate stage was configured."""
    params = locked_inputs(entries["evaluate"]).params if "evaluate" in entries else {}
    section = params.get("params.yaml", {}).get("evaluation")
    share = section.get("confidence") if isinstance(section, Mapping) else None
    return f"{100 * share:g} %" if isinstance(share, float) else "bootstrap"


def _returns(workspace: Workspace) -> dict[str, Any]:
    """Return the statistics of the bundle's episodes; none where their file is missing."""
    path = workspace.evaluate_metrics
    return dict(read_json(path, StoreError).get("bundle", {})) if path.is_file() else {}


def _curve(workspace: Workspace) -> Curve | None:
    """Return the learning curve; None where the training kept no evaluation."""
    if not workspace.train_rows.is_file():
        return None
    rows = [row for row in read_rows(workspace.train_rows) if math.isfinite(row.get(_CURVE, math.nan))]
    if not rows:
        return None
    returns = [float(row[_CURVE]) for row in rows]
    low, high = min(returns), max(returns)
    means = [math.fsum(part) / len(part) for part in _parts(returns, _CURVE_COLUMNS)]
    heights = [0.0 if low == high else (mean - low) / (high - low) for mean in means]
    line = "".join(_BARS[round(height * (len(_BARS) - 1))] for height in heights)
    last = len(rows) - 1
    chosen = sorted({round(last * n / (_CURVE_POINTS - 1)) for n in range(_CURVE_POINTS)})
    points = tuple((int(rows[index]["env_steps"]), returns[index]) for index in chosen)
    return Curve(line, low, high, points)


def _parts(values: Sequence[float], number: int) -> Iterator[Sequence[float]]:
    """Divide values into neighbours, at most so many parts, none of them empty."""
    number = min(number, len(values))
    for n in range(number):
        yield values[len(values) * n // number : len(values) * (n + 1) // number]


def _number(value: float) -> str:
    """Return a number with six significant digits and separators of thousands."""
    return f"{value:,.6g}"
