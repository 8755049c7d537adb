"""The release gate: judges one registered version by the rules of the commit that holds it.

A refused release is no error. The result is a Verdict with what each rule expected and found.
"""

from sacpipe.project.workspace import Workspace
from sacpipe.release.config import ReleaseParams
from sacpipe.release.verdict import Verdict
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Tracker


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
        params: Sections of the commit that holds the candidate: `ReleaseParams.load_sections(params.yaml)`, or
            `ReleaseParams.parse` of the three sections of an older commit.
        commit: That commit; None where no commit holds the candidate yet.

    Raises:
        ConfigError: the candidate was trained for another task than that of `params`.
        StoreError: the registry lacks a bundle; StoreUnavailableError where it does not answer.
        BundleError: the candidate's bundle is damaged.
    """
    raise NotImplementedError


def kept_verdict(workspace: Workspace, bundle_digest: str) -> Verdict | None:
    """Return the last verdict on a bundle that is kept in `.sacpipe/verdicts`, whatever has changed since.

    Nothing is judged: for a report of the present outputs.
    """
    raise NotImplementedError
