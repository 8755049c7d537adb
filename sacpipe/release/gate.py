"""The release gate: judges one registered version by the rules of the commit that holds it.

A refused release is no error. The result is a Verdict with what each rule expected and found.
"""

import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sacpipe.bundle.reader import Bundle
from sacpipe.core.errors import BundleError, InterruptedRunError, SacpipeError
from sacpipe.core.fence import fenced, first_error
from sacpipe.envs.base import Environment
from sacpipe.export.config import ExportMetrics
from sacpipe.project.identity.needs import probed_task
from sacpipe.project.workspace import Workspace
from sacpipe.release.committed_code import require_committed
from sacpipe.release.config import ReleaseParams
from sacpipe.release.evidence import Evidence
from sacpipe.release.kept_verdicts import all_kept, dependencies_digest, judging_code, read_kept, write_kept
from sacpipe.release.log import CHAMPION
from sacpipe.release.origin import find_parity, lineage_faults
from sacpipe.release.rules.rule import Rule, in_params
from sacpipe.release.scoring import RuntimeScored, entry_ranges
from sacpipe.release.verdict import Finding, Scores, Verdict
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.tracking.registry import Registry, VersionRecord, checked_digest
from sacpipe.tracking.tracker import Tracker

_WORKS_HERE = "runs_here"
"""Name of the finding about a candidate that cannot be scored at all."""


def judge_version(
    workspace: Workspace,
    tracker: Tracker,
    version: VersionRecord,
    params: ReleaseParams,
    commit: str | None = None,
) -> Verdict:
    """Judge a registered version against the present champion of its model, or return the kept verdict.

    Scores candidate and champion here, on the same episodes. A verdict is kept in `.sacpipe/verdicts` and
    returned again while nothing that it depends on has changed.

    Args:
        workspace: The project.
        tracker: Its ledger; both bundles come from its registry.
        version: The candidate.
        params: Sections of the commit that holds the candidate: `ReleaseParams.load_sections(params.yaml)`,
            or `ReleaseParams.parse` of the three sections of an older commit.
        commit: That commit, whose task and rules must be those here; None where no commit holds the
            candidate yet.

    Raises:
        ConfigError: the task of `params` cannot be made.
        ReleaseError: files of task or rules here differ from the commit.
        SimulatorError: the task raised an error after which a retry may succeed.
        StoreError: the registry lacks a bundle; StoreUnavailableError where it does not answer.
        BundleError: a bundle is damaged.
    """
    return _VersionVerdict(tracker, version, params).of(workspace, commit).replace(commit=commit)


def kept_verdict(workspace: Workspace, bundle_digest: str) -> Verdict | None:
    """Return the last kept verdict on a bundle, whatever has changed since; None where there is none.

    Nothing is judged: for a report of the present outputs.
    """
    found = [verdict for verdict in all_kept(workspace) if verdict.candidate == bundle_digest]
    return max(found, key=lambda verdict: verdict.time, default=None)


class _VersionVerdict:
    """The verdict on one version.

    Args:
        tracker: The ledger.
        version: The candidate.
        params: Sections of its commit.
    """

    def __init__(self, tracker: Tracker, version: VersionRecord, params: ReleaseParams) -> None:
        self._tracker, self._version, self._params = tracker, version, params
        champion = tracker.registry.alias(version.name, CHAMPION)
        self._champion = champion
        text = f"{version.name} version {version.version}"
        self._facts: dict[str, Any] = {
            "format_version": 1,
            "mode": params.release.mode,
            "model": version.name,
            "version": version.version,
            "candidate": checked_digest(text, version.bundle_digest),
            "champion": None if champion is None else champion.bundle_digest,
            "commit": None,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def of(self, workspace: Workspace, commit: str | None) -> Verdict:
        """Return the verdict, kept or new."""
        if self._params.release.mode == "off":
            return self._verdict((), episodes=0, scores=Scores(candidate=(), champion=()))
        faults = lineage_faults(workspace, self._tracker, self._version)
        with probed_task(workspace.root, self._params.task) as environment:
            code = judging_code(workspace.root, self._params, environment)
            if commit is not None:
                require_committed(workspace.root, commit, code.files)
            parity = find_parity(self._tracker, self._version)
            measured = None if parity is None else parity.as_tree()
            digest = dependencies_digest(self._params, code, [self._depends_on(), faults, measured])
            kept = read_kept(workspace, digest)
            if kept is None:
                kept, lasts = self._judge(environment, faults, parity)
                write_kept(workspace, digest, kept, lasts=lasts)
        return kept

    def _depends_on(self) -> list[Any]:
        return [self._facts[name] for name in ("format_version", "model", "version", "candidate", "champion")]

    def _judge(
        self, environment: Environment, faults: tuple[str, ...], parity: ExportMetrics | None
    ) -> tuple[Verdict, bool]:
        """Return a new verdict, and whether it stays the same while nothing that it depends on changes."""
        with tempfile.TemporaryDirectory() as name:
            candidate, champion = self._bundles(Path(name))
            try:
                golden_error = OnnxPolicy(candidate).golden_error
            except BundleError as exc:
                refused = _does_not_run(exc)
                return self._verdict((refused,), episodes=0, scores=Scores(candidate=(), champion=())), False
            counted: list[None] = []
            seed, ranges = self._params.seed, entry_ranges(candidate.contract)

            def score(bundle: Bundle) -> RuntimeScored:
                return RuntimeScored(bundle, environment, seed, ranges, lambda: counted.append(None))

            ours, theirs = score(candidate), None if champion is None else score(champion)
            evidence = Evidence(
                spec=environment.spec,
                candidate=ours,
                champion=theirs,
                parity=parity,
                golden_error=golden_error,
                lineage_faults=faults,
                is_champion=self._is_champion,
            )
            judged = [_judged(rule, evidence) for rule in self._params.release.rules]
            scores = Scores(
                candidate=ours.known_returns(), champion=() if theirs is None else theirs.known_returns()
            )
            findings = tuple(one.finding for one in judged)
            verdict = self._verdict(findings, episodes=len(counted), scores=scores)
            return verdict, all(one.lasts for one in judged)

    def _bundles(self, folder: Path) -> tuple[Bundle, Bundle | None]:
        """Fetch the candidate's bundle, and the champion's where that is another one."""
        registry: Registry = self._tracker.registry
        version, champion = self._version, self._champion
        candidate = registry.fetch_bundle(version.name, version.version, folder / "candidate")
        if champion is None or self._is_champion:
            return candidate, None
        return candidate, registry.fetch_bundle(version.name, champion.version, folder / "champion")

    @property
    def _is_champion(self) -> bool:
        return self._champion is not None and self._champion.bundle_digest == self._version.bundle_digest

    def _verdict(self, findings: tuple[Finding, ...], *, episodes: int, scores: Scores) -> Verdict:
        is_enforced = self._params.release.mode == "enforce"
        accepted = not is_enforced or all(finding.ok for finding in findings)
        return Verdict(accepted=accepted, findings=findings, episodes=episodes, scores=scores, **self._facts)


def judge_rules(rules: Iterable[Rule], evidence: Evidence) -> tuple[Finding, ...]:
    """Return the finding of every rule; one that raises refuses.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM.
        SacpipeError: one after which a retry may succeed, of the task or of a store.
    """
    return tuple(_judged(rule, evidence).finding for rule in rules)


class _Judged(NamedTuple):
    """A finding, and whether the same evidence gives it again at another time."""

    finding: Finding
    lasts: bool


def _judged(rule: Rule, evidence: Evidence) -> _Judged:
    found: list[object] = []
    judge = fenced(rule, f"release rule '{rule.name}'").judge
    error = first_error(lambda: found.append(judge(evidence)))
    if isinstance(error, InterruptedRunError) or (isinstance(error, SacpipeError) and error.retryable):
        raise error
    if error is None and isinstance(found[0], Finding):
        finding = found[0].model_copy(update={"rule": rule.name})
        return _Judged(finding, lasts=finding.ok or not rule.is_momentary)
    reason = f"judge() returned {found[0]!r:.100}" if error is None else " ".join(str(error).split())
    raised = _without_figure(
        rule.name,
        found=reason or type(error).__name__,
        expected="a finding",
        advice=f"Correct what it names, or {in_params('take the rule out')}.",
    )
    return _Judged(raised, lasts=False)


def _does_not_run(error: BundleError) -> Finding:
    return _without_figure(
        _WORKS_HERE,
        found=str(error),
        expected="a bundle that this machine can run",
        advice="`sacpipe check` runs the load gate over a bundle; export the policy again.",
    )


def _without_figure(rule: str, *, found: str, expected: str, advice: str) -> Finding:
    return Finding(
        rule=rule,
        expected=expected,
        found=found,
        ok=False,
        figure=None,
        threshold=None,
        unit="",
        advice=advice,
    )
