"""The summary of a run: return, verdict, version and alias, digests, report, and the next commands."""

from pathlib import Path
from typing import Any

from sacpipe.core.config import Config
from sacpipe.core.errors import StorageError
from sacpipe.core.files import read_json
from sacpipe.envs.info_metrics import SUCCESSES
from sacpipe.evaluation.statistics import EvaluateMetrics, EvaluationSummary
from sacpipe.export.config import ExportMetrics
from sacpipe.flow.release_steps import RegistryStatus
from sacpipe.params.model import Params
from sacpipe.project.dvc.commands import Outcome
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.workspace import Workspace
from sacpipe.release.verdict import Verdict

_AFTER_A_REFUSAL = (
    "next       change what the refused lines name, or train longer (sacpipe run --extend) or with another "
    "seed; then commit"
)


class Summary(Config):
    """The result of one run."""

    task: str
    outcomes: dict[str, str]
    """Outcome of each stage: `ran`, `restored` or `unchanged`."""
    deterministic: EvaluationSummary
    bundle: EvaluationSummary
    is_stochastic: bool
    """Whether the bundle draws its actions from noise."""
    verdict: Verdict
    promotion: RegistryStatus
    bundle_digest: str
    pool_digest: str
    """DVC's digest of the replay pool."""
    report: Path
    pushed: str
    seconds: float

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        *,
        outcomes: dict[str, Outcome],
        verdict: Verdict,
        promotion: RegistryStatus,
        pushed: str,
        seconds: float,
    ) -> "Summary":
        """Build the summary from the outputs on disk and the results of the steps."""
        params = Params.load(workspace.params)
        evaluated = EvaluateMetrics.parse(read_json(workspace.evaluate_metrics, StorageError))
        exported = ExportMetrics.parse(read_json(workspace.export_metrics, StorageError))
        contract = read_json(workspace.bundle / "contract.json", StorageError)
        outs = read_lock(workspace.dvc_lock)["train"]["outs"]
        return cls(
            task=f"{params.task.suite}/{params.task.id}",
            outcomes={stage: str(outcome) for stage, outcome in outcomes.items()},
            deterministic=evaluated.deterministic,
            bundle=evaluated.bundle,
            is_stochastic=contract["onnx"]["noise"] is not None,
            verdict=verdict,
            promotion=promotion,
            bundle_digest=exported.bundle_digest,
            pool_digest=next(out["md5"] for out in outs if out["path"] == "out/train/pool"),
            report=workspace.report,
            pushed=pushed,
            seconds=seconds,
        )

    @property
    def is_refused(self) -> bool:
        """Whether the release gate refused the candidate, or it was rolled back before: exit code 1."""
        return not self.verdict.accepted or bool(self.promotion.barred)

    def text(self) -> str:
        """Return the lines for the operator at the end of a run."""
        stages = ", ".join(f"{stage} {outcome}" for stage, outcome in self.outcomes.items())
        policy, promotion = self.deterministic, self.promotion
        lines = [
            self.task,
            f"return     {policy.return_mean:,.1f}, interval {policy.return_ci_low:,.1f} to "
            f"{policy.return_ci_high:,.1f}, {policy.episodes} episodes",
            f"           {self.bundle.return_mean:,.1f} by the bundle, in the robot's own runtime",
            *self._success(),
            f"stages     {stages} ({self.seconds:.0f} s)",
            f"gate       {self.verdict.text(promotion.working_rules).rstrip()}",
            f"registry   {promotion.model_name} version {promotion.version} is {promotion.state}"
            f"{self._previous()}",
            f"bundle     {self.bundle_digest}",
            f"pool       {self.pool_digest}",
            f"report     {self.report}",
            f"watch      sacpipe simulate{' --stochastic' * self.is_stochastic} --video video/",
            *self._next(),
        ]
        return "\n".join(lines) + "\n"

    def _next(self) -> list[str]:
        """Return lines with the commands that follow: to promote, to serve, or after a refusal."""
        promotion = self.promotion
        page = [f"page       sacpipe gate {promotion.version} --page verdict.html"]
        if promotion.alias == "champion":
            return ["serve      make serve"]
        if promotion.barred:
            again = f'promote    sacpipe promote {promotion.version} --again --reason "WHY"'
            return [f"barred     {promotion.barred}", *([again] if self.verdict.accepted else page)]
        if self.is_refused:
            return [*page, _AFTER_A_REFUSAL]
        if self.verdict.mode == "dry_run":
            return [
                *(page if self.verdict.refused else []),
                "promote    nothing, because release.mode is dry_run",
            ]
        commit = promotion.uncommitted.replace("\n", "\n           ")
        return [*([f"commit     {commit}"] if commit else []), 'promote    sacpipe promote --reason "WHY"']

    def _success(self) -> list[str]:
        """Return a line with the share of successes, if `task.metrics` names one.

        It is the deterministic policy's, or the bundle's where that draws its actions.
        """
        policy = self.bundle if self.is_stochastic else self.deterministic
        return [
            f"success    {metric.last:.0%} of the episodes, by {name} in the last step"
            for name, metric in policy.task_metrics.items()
            if name in SUCCESSES
        ]

    def _previous(self) -> str:
        if self.promotion.alias == "champion":
            return "" if self.promotion.previous is None else f", after version {self.promotion.previous}"
        candidate, previous = self.promotion.candidate, self.promotion.previous
        is_other = candidate not in {None, self.promotion.version}
        stays = f"; candidate stays version {candidate}" if is_other else ""
        if previous is None:
            return f"{stays}; no version is champion"
        return f"{stays}; version {previous} stays champion"

    def rows(self) -> list[dict[str, Any]]:
        """Return the result as a table, one row for each stage."""
        return [{"stage": stage, "outcome": outcome} for stage, outcome in self.outcomes.items()] + [
            {"stage": "gate", "outcome": self.verdict.word},
            {"stage": "return (bundle)", "outcome": f"{self.bundle.return_mean:.2f}"},
        ]

    def lineage_markdown(self) -> str:
        """Return the digests of pool, bundle and version as a Markdown list."""
        return (
            f"* pool `{self.pool_digest}`\n* bundle `{self.bundle_digest}`\n"
            f"* {self.promotion.model_name} version {self.promotion.version}: {self.promotion.state}\n"
        )

    def verdict_markdown(self) -> str:
        """Return the verdict and the commands that follow it as Markdown."""
        follows = "\n".join(self._next())
        return f"```\n{self.verdict.text(self.promotion.working_rules)}{follows}\n```\n"
