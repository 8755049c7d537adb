"""The records of the page, and the paths they are read from. No file is read here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sacpipe.bundle.reader import Bundle
from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.statistics import EvaluationSummary
from sacpipe.export.config import ExportMetrics

POLICIES = ("deterministic", "stochastic", "bundle")
"""Evaluated policies, in the order of the page. The first two are evaluated during training too."""

GRID = 31
"""Actions along each axis at which the critics of `ActionValues` are evaluated."""

Point = tuple[float, float]


class ActionValues(NamedTuple):
    """The critics' values of actions in one state of MultiGoal, and actions of the policy there."""

    position: Point
    """In metres."""
    values: tuple[tuple[float, ...], ...]
    """In task units of reward: GRID rows from the lowest second entry of the action, each from the lowest
    first."""
    actions: tuple[Point, ...]
    """Of the policy with noise, in [-1, 1]."""


class Plane(NamedTuple):
    """Contents of the figure of MultiGoal."""

    paths: tuple[tuple[Point, ...], ...]
    """Positions of each episode, its start first, in metres."""
    states: tuple[ActionValues, ...] | None
    """None where this machine has no critics of the run."""


@dataclass(frozen=True)
class ReportInputs:
    """Paths of every file that the report reads, the verdict and the model's name."""

    params: Path
    """params.yaml."""
    dvc_lock: Path
    root: Path
    """The project's folder, to which the paths in dvc.lock are relative."""
    train_folder: Path
    curve: Path
    """results/curve.csv."""
    export_folder: Path
    evaluate_folder: Path
    episodes: Path
    """results/episodes.csv."""
    throughput: Path | None
    """throughput.jsonl of the train stage's work folder; None or a missing file where it ran elsewhere."""
    verdict: Mapping[str, Any] | None
    """Verdict, `{accepted, reasons: [{rule, expected, found, ok}]}`; None if the release gate did not run."""
    model_name: str
    """Registered name of the policy."""


@dataclass(frozen=True)
class Reason:
    """One rule of the release gate, with what it expected and found."""

    rule: str
    expected: str
    found: str
    ok: bool


@dataclass(frozen=True)
class ShownVerdict:
    """Verdict of the release gate as the page shows it: broken rules first."""

    accepted: bool
    reasons: tuple[Reason, ...]


class CurveRow(NamedTuple):
    """One evaluation episode during training."""

    env_steps: int
    policy: str
    episode_return: float


@dataclass(frozen=True)
class Training:
    """Contents of out/train without the pool, and the learning curve."""

    env_steps: int
    gradient_steps: int
    episodes: int
    curve: tuple[CurveRow, ...]
    signals: Mapping[str, tuple[tuple[float, float], ...]]
    """Rows of (env_steps, value) by metric name; metrics without a row are left out."""
    policy_sha256: str
    kept: tuple[int, float] | None
    """Step and mean return of the evaluation whose policy was kept; None where it is the last policy."""


@dataclass(frozen=True)
class Pool:
    """The replay pool, as its manifest describes it."""

    transitions: int
    segments: int
    num_bytes: int
    form: str
    """`full` or `compact`."""
    manifest_sha256: str


@dataclass(frozen=True)
class Evaluation:
    """Contents of out/evaluate, and every episode."""

    returns: Mapping[str, EvaluationSummary]
    episodes: Mapping[str, tuple[Episode, ...]]
    video: bytes | None
    """Video of one episode as MP4; None where there is none."""
    why_no_video: str


class Artifact(NamedTuple):
    """One dependency or output in dvc.lock."""

    path: str
    md5: str
    num_bytes: int | None
    num_files: int | None


@dataclass(frozen=True)
class Stage:
    """One stage in dvc.lock."""

    name: str
    command: str
    dependencies: tuple[Artifact, ...]
    outputs: tuple[Artifact, ...]
    params: Mapping[str, Any]
    """Params that DVC recorded, by section."""


@dataclass(frozen=True)
class ReportData:
    """Everything on the page."""

    model_name: str
    params: Mapping[str, Any]
    params_digest: str
    """SHA-256 of the canonical JSON of params.yaml."""
    stages: Mapping[str, Stage]
    training: Training
    pool: Pool
    evaluation: Evaluation
    bundle: Bundle
    """Verified bundle: digest, contract, policy.onnx and golden sequences."""
    parity: ExportMetrics
    """Differences between the trained network and policy.onnx."""
    bundle_files: Mapping[str, str]
    """SHA-256 of each of the bundle's files, by name."""
    learner_units: Mapping[str, str]
    """Unit of each of the learner's metrics, as `Learner.metrics` named it; empty where the run's work folder
    is missing on this machine."""
    throughput: tuple[tuple[float, float], ...] | None
    """Rows of (env_steps, steps_per_s), or None."""
    plane: Plane | None
    """Paths and values of actions; None for another task than MultiGoal."""
    verdict: ShownVerdict | None
    """Verdict of the release gate; None if it did not run."""
    warnings: tuple[str, ...]
    """One sentence for each difference between the files and dvc.lock; empty if there is none."""

    @property
    def num_episodes(self) -> int:
        """Number of evaluation episodes of all policies together."""
        return sum(len(episodes) for episodes in self.evaluation.episodes.values())

    @property
    def confidence(self) -> float:
        """Coverage of the intervals of the evaluate stage, e.g. 0.95."""
        return float(self.params["evaluation"]["confidence"])

    @property
    def task(self) -> str:
        """Name of the task, SUITE/ID."""
        task = self.params["task"]
        return f"{task['suite']}/{task['id']}"

    def output(self, stage: str, name: str) -> Artifact | None:
        """Return a stage's output with this file or folder name, or None where dvc.lock has none."""
        return next((one for one in self.stages[stage].outputs if one.path.endswith(f"/{name}")), None)
