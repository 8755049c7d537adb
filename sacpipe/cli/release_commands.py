"""What `promote`, `rollback` and `history` share: the registry and the settled history of the project."""

from dataclasses import dataclass

from sacpipe.core.errors import ConfigError
from sacpipe.core.logging import operator
from sacpipe.params.model import Params
from sacpipe.project.workspace import Workspace
from sacpipe.release.heal import heal
from sacpipe.release.real_world import open_world
from sacpipe.release.releases import Releases
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Tracker


@dataclass(frozen=True)
class OpenedReleases:
    """The releases of the policy that params.yaml names."""

    model: str
    tracker: Tracker
    releases: Releases

    def version(self, which: str) -> VersionRecord:
        """Return a registered version by its number or an alias.

        Raises:
            ConfigError: there is none; the message lists the versions.
            StoreError: the registry failed.
        """
        known = self.tracker.registry.versions(self.model)
        found = next((one for one in known if which in (str(one.version), *one.aliases)), None)
        if found is None:
            names = ", ".join("/".join([str(one.version), *one.aliases]) for one in known)
            raise ConfigError(
                f"VERSION: policy '{self.model}' has no version or alias '{which}'. It has "
                f"{names or 'none; `sacpipe run` registers a candidate'}."
            )
        return found


def open_releases(workspace: Workspace, reason: str | None, *, settles: bool = True) -> OpenedReleases:
    """Open registry and history, repair damage, and finish or undo what an earlier command left behind.

    Args:
        workspace: The project, whose lock the caller holds.
        reason: The operator's reason; None where the command has none.
        settles: Whether to settle; a command that repairs a disagreement does that itself.

    Raises:
        ConfigError: the reason is blank, git has no identity for the commit, or params.yaml is wrong.
        ReleaseError: history and registry disagree.
        StoreError: the registry failed.
    """
    if reason is not None and not reason.strip():
        raise ConfigError("--reason: expected why, in words that explain it a year later; found none.")
    tracker = open_ledger(workspace)
    model = Params.load(workspace.params).release.model_name
    world = open_world(workspace, tracker)
    if reason is not None:
        world.git.actor()  # before minutes of repair and episodes
    releases = Releases(world, model)
    for line in heal(workspace, tracker, world, model):
        operator.info(line)
    if settles:
        for line in releases.settle():
            operator.info(line)
    return OpenedReleases(model, tracker, releases)
