"""Move the champion's alias: set it, read it back, load it; restore the old one if that fails."""

from datetime import UTC, datetime
from functools import partial

from sacpipe.bundle.reader import open_bundle
from sacpipe.core.config import Config
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.gate import Verdict
from sacpipe.tracking.ledger import register_bundle
from sacpipe.tracking.promotion_history import (
    FORMAT_VERSION,
    Promotion,
    append_promotion,
    current_promotion,
    read_promotions,
)
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import COMMIT_TAG, Tracker

CHAMPION = "champion"
CANDIDATE = "candidate"


class RegistryStatus(Config):
    """The version and alias of a bundle in the registry."""

    model_name: str
    version: int
    alias: str
    """`champion`, or `candidate` where the release gate refused the bundle."""
    previous: int | None
    """Number of the champion before, where it was another version."""
    why: str


def promote_version(
    workspace: Workspace, ledger: Tracker, model_name: str, verdict: Verdict
) -> RegistryStatus:
    """Register the workspace's bundle under `model_name` and give it the alias the verdict allows.

    Raises:
        StoreError: the registry failed, or the new champion does not load; the alias is restored.
        BundleError: the bundle is damaged.
    """
    registry = ledger.registry
    version = register_bundle(workspace, ledger, model_name)
    champion = registry.alias(model_name, CHAMPION)
    previous = None if champion is None else champion.version
    status = partial(RegistryStatus, model_name=model_name, version=version.version)
    if not verdict.accepted:
        broken = "; ".join(
            f"{r.rule}: expected {r.expected}, found {r.found}" for r in verdict.reasons if not r.ok
        )
        registry.set_alias(model_name, CANDIDATE, version.version)
        registry.set_version_tags(model_name, version.version, {"sacpipe.verdict": f"refused: {broken}"})
        return status(alias=CANDIDATE, previous=previous, why=broken)
    met = "; ".join(f"{r.rule}: {r.found}" for r in verdict.reasons)
    if previous == version.version:
        last = current_promotion(read_promotions(workspace), model_name, CHAMPION)
        if last is None or last.bundle_digest != version.bundle_digest:  # killed between alias and history
            registry.smoke_load(model_name, CHAMPION, open_bundle(workspace.bundle, follow_cache_links=True))
            _append_history(workspace, version, None, verdict)
        return status(alias=CHAMPION, previous=None, why=f"it was champion already; {met}")
    tags = {"sacpipe.verdict": f"accepted: {met}", "sacpipe.previous_champion": str(previous or "")}
    registry.set_version_tags(model_name, version.version, tags)
    try:
        registry.set_alias(model_name, CHAMPION, version.version)
        registry.smoke_load(model_name, CHAMPION, open_bundle(workspace.bundle, follow_cache_links=True))
    except BaseException:  # also on a signal: a champion that was not loaded must not stay
        if previous is None:
            registry.delete_alias(model_name, CHAMPION)
        else:
            registry.set_alias(model_name, CHAMPION, previous)
        raise
    _append_history(workspace, version, champion, verdict)
    return status(alias=CHAMPION, previous=previous, why=met)


def _append_history(
    workspace: Workspace, version: VersionRecord, before: VersionRecord | None, verdict: Verdict
) -> None:
    """Append the promotion to the history, which is kept when the registry is lost."""
    entries = read_lock(workspace.dvc_lock)
    append_promotion(
        workspace,
        Promotion(
            format_version=FORMAT_VERSION,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            action="promote",
            model=version.name,
            alias=CHAMPION,
            version=version.version,
            bundle_digest=version.bundle_digest,
            previous_bundle_digest=None if before is None else before.bundle_digest,
            commit=version.tags.get(COMMIT_TAG),
            entries={stage: entries[stage] for stage in STAGES if stage in entries},
            verdict=verdict.as_tree(),
        ),
    )
