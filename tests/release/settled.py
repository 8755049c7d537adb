"""What is true of history, registry and clone once a release command has settled."""

from collections.abc import Iterator

from release_project import ReleaseProject, git

from sacpipe.release.bars import bar_text
from sacpipe.release.head import read_head
from sacpipe.release.lease import LEASE_TAG
from sacpipe.release.log import alias_now, bundle_of
from sacpipe.tracking.registry import BARRED_TAG


def state(project: ReleaseProject) -> object:
    """Return everything that a release command may change: commit, history, tags and aliases."""
    registry = project.tracker.registry
    return (
        git(project.root, "rev-parse", "HEAD"),
        [record.file_name for record in project.releases().history().records.values()],
        registry.model_tags(project.model),
        [(one.version, one.aliases, one.tags) for one in registry.versions(project.model)],
    )


def faults(project: ReleaseProject) -> Iterator[str]:
    """Yield what is not as it is after each release command."""
    registry, history = project.tracker.registry, project.releases().history()
    head, alias = read_head(registry, project.model), alias_now(project.world(), project.model)
    if bundle_of(alias) != bundle_of(history.champion):
        yield f"the alias names {alias}, the history {history.champion}"
    if history.open_intent is not None:
        yield "an intent is open"
    if (head and head.sha256) != (history.tip and history.tip.sha256):
        yield f"the head is {head}, the newest record {history.tip}"
    if left := git(project.root, "status", "--porcelain", "--ignored", "--", "release"):
        yield f"not committed: {left}"
    if tracked := [name for name in git(project.root, "ls-files").split() if name.endswith(".tmp")]:
        yield f"leftovers are committed: {tracked}"
    if lease := registry.model_tags(project.model).get(LEASE_TAG, ""):
        yield f"the lease is still held: {lease}"
    yield from _wrong_bars(project)


def _wrong_bars(project: ReleaseProject) -> Iterator[str]:
    history = project.releases().history()
    for version in project.tracker.registry.versions(project.model):
        bar = history.barred.get(version.bundle_digest)
        if version.tags.get(BARRED_TAG, "") != ("" if bar is None else bar_text(bar)):
            yield f"version {version.version} has another bar than the history: {version.tags}"
