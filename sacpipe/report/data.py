"""What the page is made of: paths in, small frozen records out. No file is read here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sacpipe.bundle.reader import Bundle
from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.statistics import EvaluationSummary

POLICIES = ("deterministic", "stochastic", "bundle")
"""Who is evaluated after training, in the order of the page; during training the first two."""


@dataclass(frozen=True)
class ReportInputs:
    """Where everything the report shows lies. Nothing else is read."""

    params: Path
    """params.yaml."""
    dvc_lock: Path
    train_folder: Path
    export_folder: Path
    evaluate_folder: Path
    throughput: Path | None
    """throughput.jsonl of the train stage's work folder; None or an absent file where it ran elsewhere."""
    verdict: Mapping[str, Any] | None
    """The gate's answer, `{accepted, reasons: [{rule, expected, found, ok}]}`; None where nobody asked it."""
    model_name: str
    """Name in the registry."""


@dataclass(frozen=True)
class Reason:
    """One rule of the gate and what it found."""

    rule: str
    expected: str
    found: str
    ok: bool


@dataclass(frozen=True)
class Answer:
    """The gate's verdict as the page shows it; broken rules come first."""

    accepted: bool
    reasons: tuple[Reason, ...]


class CurveRow(NamedTuple):
    """One evaluation episode during training."""

    env_steps: int
    policy: str
    episode_return: float


@dataclass(frozen=True)
class Training:
    """out/train without the pool."""

    env_steps: int
    gradient_steps: int
    episodes: int
    curve: tuple[CurveRow, ...]
    signals: Mapping[str, tuple[tuple[float, float], ...]]
    """(env_steps, value) by metric name; names without a row are absent."""
    policy_sha256: str


@dataclass(frozen=True)
class Pool:
    """The replay pool, from its manifest alone."""

    transitions: int
    segments: int
    num_bytes: int
    form: str
    """`full` or `compact`."""
    manifest_sha256: str


@dataclass(frozen=True)
class Evaluation:
    """out/evaluate."""

    returns: Mapping[str, EvaluationSummary]
    episodes: Mapping[str, tuple[Episode, ...]]
    video: bytes | None
    """MP4."""
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
    """Values DVC recorded, by key path."""


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
    """Verified: digest, contract, policy.onnx and golden sequences."""
    bundle_files: Mapping[str, str]
    """SHA-256 of each of the bundle's files, by name."""
    throughput: tuple[tuple[float, float], ...] | None
    """(env_steps, steps_per_s), or None."""
    answer: Answer | None
    doubts: tuple[str, ...]
    """Where files and dvc.lock disagree, one sentence each; none is good."""

    @property
    def num_episodes(self) -> int:
        """Evaluation episodes of all policies together."""
        return sum(len(episodes) for episodes in self.evaluation.episodes.values())

    @property
    def confidence(self) -> float:
        """Coverage of the intervals the evaluate stage made, e.g. 0.95."""
        return float(self.params["evaluation"]["confidence"])

    @property
    def task(self) -> str:
        """`universe/id`."""
        task = self.params["task"]
        return f"{task['universe']}/{task['id']}"

    def output(self, stage: str, name: str) -> Artifact | None:
        """Return a stage's output of this file or folder name, or None where dvc.lock has none."""
        return next((one for one in self.stages[stage].outputs if one.path.endswith(f"/{name}")), None)
