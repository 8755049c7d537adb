"""Where a version comes from, as the release gate needs it: what the export measured, and broken links."""

from sacpipe.core.errors import ConfigError
from sacpipe.export.config import ExportMetrics
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.lineage import lineage
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import STAGE_KEY_TAG, Tracker

_TO_COMMITS = "-> commit"
"""End of the names of links that a candidate need not have yet: `sacpipe promote` finds its commit."""


def lineage_faults(workspace: Workspace, tracker: Tracker, version: VersionRecord) -> tuple[str, ...]:
    """Return the links of a version's lineage that do not hold, in words; without those to commits.

    Raises:
        StoreError: the registry or the ledger failed.
    """
    edges = lineage(workspace, tracker, f"{version.name}/{version.version}")
    return tuple(
        f"{edge.name}: expected {edge.expected}, found {edge.found}"
        for edge in edges
        if not edge.ok and not edge.name.endswith(_TO_COMMITS)
    )


def find_parity(tracker: Tracker, version: VersionRecord) -> ExportMetrics | None:
    """Return what the export stage measured of a version; None where its run does not have it.

    Raises:
        StoreError: the ledger failed.
    """
    key = version.tags.get(STAGE_KEY_TAG)
    run = tracker.find_run(key) if key else None
    names = ExportMetrics.model_fields.keys() - {"bundle_digest"}
    if run is None or not names <= run.metrics.keys():
        return None
    numbers = {name: run.metrics[name] for name in names}
    numbers["parity_observations"] = int(numbers["parity_observations"])
    try:
        return ExportMetrics.parse({"bundle_digest": version.bundle_digest, **numbers}, source="export run")
    except ConfigError:  # numbers of an older version
        return None
