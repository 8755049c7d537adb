#!/usr/bin/env python3
"""Draws docs/architecture.svg: the data flow, and the packages in the layers of the import contracts.

    python docs/architecture.py

Layers and colours come from `[tool.importlinter]` in pyproject.toml, so the picture cannot differ from what
import-linter checks; tests/architecture/test_architecture_picture.py fails where the file is not up to date.
Only the descriptions and the steps of the data flow are written here.
"""

import tomllib
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SVG_FILE = ROOT / "docs" / "architecture.svg"

DESCRIPTIONS = {
    "pipelines": "the project's own stages and flow",
    "cli": "one file a command",
    "testing": "contract suites for your own members",
    "flow": "the steps of a run as plain functions, and the summary at its end",
    "report": "one HTML page about one policy",
    "simulation": "policies in simulated tasks",
    "params": "params.yaml as a whole: its model, and a complete file for any task",
    "release": "the release gate, the history of releases, rebuild and repair of a registry",
    "tracking": "the ledger of runs, the registry, lineage; MLflow",
    "project": "workspace, stage keys, DVC, git, verify, ingest of recordings",
    "server": "the Open Inference Protocol over HTTP, metrics, live page",
    "rollout": "bundle store, sources, follower; shadow, swap, watch, rollback",
    "robot": "policy, runtime with guards, control loop, load gate, recording",
    "training": "loop, checkpoints, metrics",
    "export": "network to bundle, parity",
    "evaluation": "episodes, statistics, video",
    "engines": "how an update is computed: kernels, autograd, by hand",
    "algorithms": "learners by autograd; updates of kernels beside them",
    "networks": "actor, critics, policy file",
    "envs": "task suites, rendering",
    "replay": "buffer, samplers",
    "kernels": "C++ kernels, and programs of them; compiled here, cached",
    "bundle": "contract, manifest, golden",
    "specs": "observation and action terms, EnvSpec, Step, Transition, Batch",
    "core": "errors, files, locks, configuration, seeds",
}


class Step(NamedTuple):
    """A box of the data flow."""

    title: str
    packages: tuple[str, ...]
    """Packages that do the step, or that read and write the file."""
    notes: tuple[str, str]
    """What the step writes, or what the file is for."""
    is_file: bool = False


FORTH = (
    Step("params.yaml", ("params",), ("every value; and", "dvc.yaml, the graph"), is_file=True),
    Step("train", ("training", "algorithms"), ("policy.safetensors,", "pool, metrics")),
    Step("export", ("export", "bundle"), ("bundle: ONNX file,", "contract, golden")),
    Step("evaluate", ("evaluation", "robot"), ("metrics, episodes,", "video")),
    Step("release gate", ("release",), ("verdict: accepted", "or refused")),
    Step("registry", ("tracking", "release"), ("version, and the", "alias champion")),
)
BACK = (
    Step("data/pool", ("replay.pool",), ("initial pool of the", "next training"), is_file=True),
    Step("ingest", ("project",), ("checked segments", "of the pool")),
    Step("recording", ("robot.recording",), ("transitions, stamps,", "verdicts")),
    Step("robot", ("robot", "server"), ("actions, checked by", "twelve guards")),
    Step("rollout", ("rollout",), ("active bundle, after", "shadow and watch")),
)
"""Right to left in the picture: `rollout` is below the registry, `data/pool` below `train`."""

LEGEND = (
    ("training", "training: torch"),
    ("robot", "robot: no torch"),
    ("project", "project: MLflow"),
    ("file", "file"),
)

WIDTH, MARGIN, GAP = 900, 24, 6
BOX_WIDTH, BOX_HEIGHT = 126, 86
FORTH_Y, BACK_Y, LAYERS_Y = 84, 220, 390
ROWS_X = 62
COLUMN = (WIDTH - 2 * MARGIN - BOX_WIDTH) / (len(FORTH) - 1)
SIZES = {"heading": 17, "name": 14, "small": 11.5}
LETTERS = {"heading": 0.62, "name": 0.62, "small": 0.53}
"""Mean width of a letter of a wide font (DejaVu Sans), bold and regular, as a share of the font's size."""

STYLE = """
  svg { --paper: #ffffff; --ink: #1f2937; --soft: #4b5563; --line: #6b7280;
        --training: #dbeafe; --training-line: #2563eb; --robot: #d9f5e3; --robot-line: #15803d;
        --project: #fdf0cf; --project-line: #a16207; --file: #eef1f5; --file-line: #6b7280; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #111827; --ink: #f3f4f6; --soft: #c3cad5; --line: #9ca3af;
          --training: #1e3a68; --training-line: #7fb0ff; --robot: #14432a; --robot-line: #5fd493;
          --project: #4a3608; --project-line: #e8b84a; --file: #293241; --file-line: #9ca3af; } }
  text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }
  .paper { fill: var(--paper); stroke: var(--line); }
  .training { fill: var(--training); stroke: var(--training-line); }
  .robot { fill: var(--robot); stroke: var(--robot-line); }
  .project { fill: var(--project); stroke: var(--project-line); }
  .file { fill: var(--file); stroke: var(--file-line); stroke-dasharray: 4 3; }
  .heading { font-size: 17px; font-weight: 600; }
  .name { font-size: 14px; font-weight: 600; }
  .small { font-size: 11.5px; fill: var(--soft); }
  .arrow, .bracket { fill: none; stroke: var(--line); stroke-width: 1.6; }
  .arrow { marker-end: url(#head); }
  .head { fill: var(--line); }
"""


class Contracts(NamedTuple):
    """What the picture takes from import-linter's contracts."""

    layers: tuple[tuple[str, ...], ...]
    """Packages of each layer, the highest layer first, without `sacpipe.`."""
    robot: frozenset[str]
    """Packages, and parts of packages, that run on a robot."""
    training: frozenset[str]
    """Packages that the robot's packages may not import."""

    def side(self, package: str) -> str:
        """Return the colour class of a package."""
        if not self.robot.isdisjoint({package, package.partition(".")[0]}):
            return "robot"
        return "training" if any(name.partition(".")[0] == package for name in self.training) else "project"


def read_contracts(pyproject: str) -> Contracts:
    """Read the layers, and which packages a robot has.

    Args:
        pyproject: Text of pyproject.toml.

    Raises:
        ValueError: the contract of layers or the robot's contract is missing, or there are two of one.
    """
    contracts = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    (layers,) = [one["layers"] for one in contracts if one["type"] == "layers"]
    (robot,) = [
        one
        for one in contracts
        if "sacpipe.robot" in one.get("source_modules", ()) and "torch" in one["forbidden_modules"]
    ]
    return Contracts(
        layers=tuple(tuple(map(_short, layer.replace(":", "|").split("|"))) for layer in layers),
        robot=frozenset(map(_short, robot["source_modules"])),
        training=frozenset(
            _short(name) for name in robot["forbidden_modules"] if name.startswith("sacpipe.")
        ),
    )


def _short(module: str) -> str:
    return module.strip().removeprefix("sacpipe.")


def draw(contracts: Contracts) -> str:
    """Return the picture as SVG text.

    Raises:
        ValueError: a package has no description, or a text is too long for its box.
    """
    layers, bottom = _layers(contracts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + MARGIN}" role="img"'
        f' width="{WIDTH}" height="{bottom + MARGIN}">',
        "<title>sacpipe: the data flow and the layers of its packages</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto-start-reverse"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{bottom + MARGIN - 1}" rx="10"/>',
        *_flow(contracts),
        *layers,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _flow(contracts: Contracts) -> list[str]:
    """Draw the steps: forth from params.yaml to the registry, back from the robot to data/pool."""
    parts = [_text(MARGIN, 34, "Data flow", "heading")]
    parts += [
        _text(MARGIN + 96, 34, "each box: a step, the packages that do it, and what it writes", "small")
    ]
    parts += _bracket(1, 3, FORTH_Y - 12, "stages of dvc.yaml: DVC owns identity and bytes")
    parts += _bracket(4, 5, FORTH_Y - 12, "steps of pipelines/flow.py: Prefect")
    parts += _bracket(3, 5, BACK_Y + BOX_HEIGHT + 12, "on the robot: no torch, no MLflow, no DVC", down=True)
    middle = BOX_HEIGHT / 2
    for column, step in enumerate(FORTH):
        parts += _step(contracts, column, FORTH_Y, step)
        if column:
            parts.append(
                _arrow(_left(column - 1) + BOX_WIDTH, FORTH_Y + middle, _left(column), FORTH_Y + middle)
            )
    for column, step in enumerate(BACK, start=1):
        parts += _step(contracts, column, BACK_Y, step)
        if column > 1:
            parts.append(
                _arrow(_left(column), BACK_Y + middle, _left(column - 1) + BOX_WIDTH, BACK_Y + middle)
            )
    for column, start, end in ((5, FORTH_Y + BOX_HEIGHT, BACK_Y), (1, BACK_Y, FORTH_Y + BOX_HEIGHT)):
        parts.append(_arrow(_left(column) + BOX_WIDTH / 2, start, _left(column) + BOX_WIDTH / 2, end))
    for row, (side, text) in enumerate(LEGEND):
        y = BACK_Y + 10 + 20 * row
        parts.append(_rect(MARGIN, y, 16, 12, side, radius=3))
        parts.append(_text(MARGIN + 22, y + 10, text, "small", room=BOX_WIDTH - 10))
    return parts


def _left(column: int) -> float:
    return MARGIN + column * COLUMN


def _step(contracts: Contracts, column: int, y: float, step: Step) -> list[str]:
    x, side = _left(column), "file" if step.is_file else contracts.side(step.packages[0])
    lines = [", ".join(step.packages), *step.notes]
    parts = [_rect(x, y, BOX_WIDTH, BOX_HEIGHT, side)]
    parts.append(_text(x + BOX_WIDTH / 2, y + 21, step.title, "name", anchor="middle", room=BOX_WIDTH - 2))
    parts.append(_line(x + 10, y + 45, x + BOX_WIDTH - 10, y + 45, f"{side} rule"))
    for line, offset in zip(lines, (38, 61, 76), strict=False):
        parts.append(_text(x + BOX_WIDTH / 2, y + offset, line, "small", anchor="middle", room=BOX_WIDTH - 2))
    return parts


def _bracket(first: int, last: int, y: float, text: str, *, down: bool = False) -> list[str]:
    left, right, tip = _left(first), _left(last) + BOX_WIDTH, -5 if down else 5
    path = f'<path class="bracket" d="M{left:g} {y + tip:g} V{y:g} H{right:g} V{y + tip:g}"/>'
    return [
        path,
        _text(
            (left + right) / 2, y + (17 if down else -6), text, "small", anchor="middle", room=right - left
        ),
    ]


def _layers(contracts: Contracts) -> tuple[list[str], float]:
    """Draw one row a layer; return the parts and where they end."""
    parts = [_text(MARGIN, LAYERS_Y - 30, "Packages", "heading")]
    rule = "a package may import from the rows below its own only; a green one imports green ones only"
    parts.append(_text(MARGIN + 96, LAYERS_Y - 30, rule, "small"))
    y: float = LAYERS_Y - 12
    for layer in contracts.layers:
        height = 30 if len(layer) < 3 else 48
        width = (WIDTH - MARGIN - ROWS_X - GAP * (len(layer) - 1)) / len(layer)
        for place, package in enumerate(layer):
            parts += _package(contracts, package, ROWS_X + place * (width + GAP), y, width, height)
        y += height + GAP
    bottom = y - GAP
    parts.append(_arrow(MARGIN + 22, LAYERS_Y - 12, MARGIN + 22, bottom))
    middle = (LAYERS_Y - 12 + bottom) / 2
    turned = f'<g transform="translate({MARGIN + 12} {middle:g}) rotate(-90)">'
    parts.append(f"{turned}{_text(0, 0, 'may import', 'small', anchor='middle')}</g>")
    return parts, bottom


def _package(
    contracts: Contracts, package: str, x: float, y: float, width: float, height: float
) -> list[str]:
    if package not in DESCRIPTIONS:
        raise ValueError(
            f"docs/architecture.py: DESCRIPTIONS has no '{package}'. Describe it in a few words."
        )
    parts = [_rect(x, y, width, height, contracts.side(package))]
    parts.append(_text(x + 10, y + 20, package, "name"))
    name_width = len(package) * SIZES["name"] * LETTERS["name"] + 12
    if height > 30:
        parts.append(_text(x + 10, y + 38, DESCRIPTIONS[package], "small", room=width - 10))
    else:
        indent = max(name_width, 96)
        parts.append(_text(x + 10 + indent, y + 20, DESCRIPTIONS[package], "small", room=width - 10 - indent))
    for name in sorted(contracts.robot):
        if name.startswith(f"{package}."):
            part = name.removeprefix(f"{package}.")
            chip = len(part) * SIZES["small"] * LETTERS["small"] + 12
            parts.append(_rect(x + 8 + name_width, y + 7, chip, 18, "robot", radius=4))
            parts.append(_text(x + 8 + name_width + chip / 2, y + 20, part, "small", anchor="middle"))
    return parts


def _rect(x: float, y: float, width: float, height: float, side: str, radius: int = 6) -> str:
    return f'<rect class="{side}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, side: str) -> str:
    return f'<line class="{side}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="arrow" d="M{x1:g} {y1:g} L{x2:g} {y2:g}"/>'


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start", room: float = WIDTH) -> str:
    """Return a line of text, after it was found to fit into `room` units."""
    if len(text) * SIZES[kind] * LETTERS[kind] > room:
        raise ValueError(f"docs/architecture.py: '{text}' does not fit into {room:g} units. Shorten it.")
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def main() -> None:
    """Write the picture."""
    SVG_FILE.write_text(
        draw(read_contracts((ROOT / "pyproject.toml").read_text(encoding="utf-8"))), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
