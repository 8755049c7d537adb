"""The history that a command adds records to, while it holds the lease."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sacpipe.core.errors import ReleaseError, StorageError
from sacpipe.release.head import publish, require_head
from sacpipe.release.history import History, release_folder, write_durably
from sacpipe.release.lease import Lease
from sacpipe.release.record import FORMAT_VERSION, Action, Kind, Record, Release
from sacpipe.release.world import World
from sacpipe.tracking.registry import VersionRecord

CHAMPION = "champion"
"""The alias that robots follow."""


@dataclass(frozen=True)
class Facts:
    """What a command says in each record that it writes."""

    action: Action
    reason: str
    verdict: str | None = None
    """Digest of the verdict's file."""
    commit: str | None = None
    entries: Mapping[str, Any] = field(default_factory=dict)


class Log:
    """The history of one policy, and the digest of its head."""

    def __init__(self, world: World, history: History, published: str | None, lease: Lease) -> None:
        self.world, self.history, self.published = world, history, published
        self._lease = lease
        self.lines: list[str] = []
        """Lines for the operator; the commit comes last, when the command ends."""

    def report(self, *lines: str) -> list[str]:
        """Add lines for the operator, and return all, to which the command's end adds."""
        self.lines += lines
        return self.lines

    @property
    def model(self) -> str:
        """Registered name."""
        return self.history.model

    def append(
        self,
        kind: Kind,
        facts: Facts,
        *,
        before: Release | None,
        to: Release | None,
        parents: tuple[Record, ...] = (),
    ) -> None:
        """Write a record to the disk; `publish` makes it the head.

        Args:
            kind: What happened.
            facts: The command, and why.
            before: What the alias named.
            to: What it names now.
            parents: Records before; the tip by default.
        """
        tip = None if parents else self.history.tip
        follows = parents or ((tip,) if tip else ())
        record = Record(
            format_version=FORMAT_VERSION,
            number=max((one.number for one in follows), default=0) + 1,
            parents=tuple(one.sha256 for one in follows),
            kind=kind,
            action=facts.action,
            time=self.world.clock.now().isoformat(timespec="seconds"),
            actor=self.world.git.actor(),
            model=self.model,
            before=before,
            to=to,
            reason=facts.reason,
            verdict=facts.verdict,
            commit=facts.commit,
            entries=dict(facts.entries),
        )
        try:
            write_durably(self.world.disk, self._path(record), record.data)
        except StorageError:
            with contextlib.suppress(StorageError):
                if (
                    self.world.disk.read(self._path(record)) == record.data
                ):  # only its name is not durable yet
                    self.history = self.history.after(record)
            raise
        self.history = self.history.after(record)

    def publish(self) -> None:
        """Make the tip the head.

        Raises:
            LostRaceError: another promoter published meanwhile.
        """
        tip = self.history.tip
        if tip is not None and tip.sha256 != self.published:
            self.world.disk.sync_folder(
                self._folder
            )  # a killed command may have left a name that is not durable
            publish(self.world.registry, self.model, self.published, tip)
            self.published = tip.sha256

    def require_newest(self) -> None:
        """Check that no other promoter took the lease or published.

        Raises:
            ReleaseError: one took the lease; LostRaceError where one published.
        """
        self._lease.require()
        require_head(self.world.registry, self.model, self.published)

    def require_unchanged(self, expected: Release | None) -> None:
        """Check that lease, head and alias are as this command left them.

        Raises:
            ReleaseError: another promoter took the lease, or the alias was moved; LostRaceError where another
                promoter published.
        """
        self.require_newest()
        found = alias_now(self.world, self.model)
        if bundle_of(found) != bundle_of(expected):
            raise ReleaseError(
                f"alias '{CHAMPION}' of policy '{self.model}': expected {expected or 'no version'}, found "
                f"{found or 'none'}: it was moved meanwhile."
            )

    def drop_after(self, digest: str | None) -> None:
        """Remove the newest records down to one of a digest: they lost a race, and nothing acted on them."""
        while (tip := self.history.tip) is not None and tip.sha256 != digest:
            self.world.disk.remove(self._path(tip))
            self.history = self.history.without({tip.sha256})
        self.world.disk.sync_folder(self._folder)

    @property
    def _folder(self) -> str:
        return f"{release_folder(self.model)}/history"

    def _path(self, record: Record) -> str:
        return f"{self._folder}/{record.file_name}"


def alias_now(world: World, model: str) -> Release | None:
    """Return what the champion's alias names now.

    Raises:
        ReleaseError: the version has no bundle's digest.
    """
    found = world.registry.alias(model, CHAMPION)
    return None if found is None else release_of(found)


def release_of(version: VersionRecord) -> Release:
    """Return a registered version as records name it.

    Raises:
        ReleaseError: it has no bundle's digest.
    """
    try:
        return Release(version=version.version, bundle=version.bundle_digest)
    except ValueError as exc:
        raise ReleaseError(
            f"version {version.version} of policy '{version.name}' has no bundle of sacpipe. "
            "Release a version that `sacpipe run` registered."
        ) from exc


def bundle_of(release: Release | None) -> str | None:
    """Return the digest of a release's bundle, which identifies it."""
    return None if release is None else release.bundle
