"""What `promote`, `rollback` and `history` share: the registry and the settled history of the project."""

from dataclasses import dataclass

from sacpipe.core.errors import ConfigError
from sacpipe.core.logging import operator
from sacpipe.project.workspace import Workspace
from sacpipe.release.config import read_model_name
from sacpipe.release.heal import heal
from sacpipe.release.real_world import open_world
from sacpipe.release.releases import Releases
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Tracker

MAX_REASON_CHARS = 500
"""Longest reason: it is part of a tag and of a line."""
_PLACE_HOLDERS = ("...", "WHY")
"""What stands for the reason in printed commands."""


@dataclass(frozen=True)
class OpenedReleases:
    """The releases of the policy that params.yaml names."""

    model: str
    tracker: Tracker
    releases: Releases

    def version(self, which: str) -> VersionRecord:
        """Return a registered version, see `find_version`."""
        return find_version(self.tracker, self.model, which)


def find_version(tracker: Tracker, model: str, which: str) -> VersionRecord:
    """Return a registered version by its number or an alias.

    Raises:
        ConfigError: there is none; the message lists the versions.
        StoreError: the registry failed.
    """
    known = tracker.registry.versions(model)
    found = next((one for one in known if which in (str(one.version), *one.aliases)), None)
    if found is None:
        names = ", ".join("/".join([str(one.version), *one.aliases]) for one in known)
        raise ConfigError(
            f"VERSION: policy '{model}' has no version or alias '{which}'. It has "
            f"{names or 'none; `sacpipe run` registers a candidate'}."
        )
    return found


def open_releases(
    workspace: Workspace, reason: str | None, *, heals: bool = True, settles: bool = True
) -> OpenedReleases:
    """Open registry and history, repair damage, and finish or undo what an earlier command left behind.

    Args:
        workspace: The project, whose release lock the caller holds.
        reason: The operator's reason; None where the command has none.
        heals: Whether to repair what the registry lost.
        settles: Whether to settle; a command that repairs a disagreement does that itself.

    Raises:
        ConfigError: the reason is blank or a place-holder, git has no identity, or the model has no name.
        ReleaseError: history and registry disagree.
        StoreError: the registry failed.
    """
    if reason is not None:
        _check_reason(reason.strip())
    tracker = open_ledger(workspace)
    model = read_model_name(workspace.params)
    world = open_world(workspace, tracker)
    if reason is not None:
        world.git.actor()  # before minutes of repair and episodes
    releases = Releases(world, model)
    if heals and len(releases.history().tips) <= 1:  # of a fork, no branch says what is damaged
        for line in heal(workspace, tracker, world, model):
            operator.info(line)
    if settles:
        for line in releases.settle():
            operator.info(line)
    return OpenedReleases(model, tracker, releases)


def _check_reason(reason: str) -> None:
    if not 0 < len(reason) <= MAX_REASON_CHARS:
        raise ConfigError(
            f"--reason: expected why, in 1 to {MAX_REASON_CHARS} characters that explain it a year later, "
            f"found {len(reason)}."
        )
    if reason in _PLACE_HOLDERS:
        raise ConfigError(
            "--reason: expected why, in words that explain it a year later, found the place-holder "
            f"'{reason}'. The history keeps the reason for good."
        )
