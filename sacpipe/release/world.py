"""What the release commands touch outside of their own memory: clock, disk, git, random numbers, registry.

Each is a protocol, so that a test runs the same commands in a simulated world whose every step comes from a
seed. The real ones are in `real_world.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sacpipe.core.config import Config
from sacpipe.tracking.registry import Registry, VersionRecord


class Actor(Config):
    """Who releases: the identity that git writes into a commit."""

    name: str
    email: str

    def __str__(self) -> str:
        """Return both as git shows them."""
        return f"{self.name} <{self.email}>"


class Clock(Protocol):
    """The wall clock, which may jump, and waiting."""

    def now(self) -> datetime:
        """Return the time in UTC, with its time zone."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Disk(Protocol):
    """Files of one project. Paths are relative to its folder, with `/`.

    A crash may lose or tear what `write` wrote until `sync` returned, and may undo a `rename`, a `write` of a
    new name or a `remove` until `sync_folder` of its folder returned. Every method may raise StorageError.
    """

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a regular file; None where there is none."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a new file, or replace the bytes of one, in a folder that may be missing."""
        ...

    def sync(self, path: str) -> None:
        """Make the bytes of a file durable."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Give a file another name in one step; a file that has that name is replaced."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; one that is missing stays missing."""
        ...

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable."""
        ...

    def list(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none where there is no folder."""
        ...


class Git(Protocol):
    """The repository of the project. Every method may raise StoreError."""

    def actor(self) -> Actor:
        """Return the identity that a commit would have.

        Raises:
            ConfigError: git is missing, the folder is no repository, or no identity is set.
        """
        ...

    def uncommitted(self, folder: str) -> tuple[str, ...]:
        """Return the files under a folder that differ from the commit, new and missing ones too."""
        ...

    def lost(self, folder: str) -> tuple[str, ...]:
        """Return the files under a folder that the commit has, and the disk lacks or has otherwise."""
        ...

    def commit(self, paths: Sequence[str], message: str) -> str:
        """Commit these files as they are on the disk, and nothing else; what is staged stays staged.

        Returns:
            A line for the operator: the commit, and how to share it.
        """
        ...


class Random(Protocol):
    """Random numbers."""

    def token(self) -> str:
        """Return 32 hexadecimal digits that no other call returns."""
        ...


Prove = Callable[[Registry, VersionRecord], None]
"""Proves a version from the registry's own bytes: fetch the bundle that a robot fetches, compare its digest,
replay its golden sequences.

Raises:
    StoreError: the version is gone, or its bytes are not those of its digest.
    BundleError: the bundle is damaged, or its policy computes other actions.
    StoreUnavailableError: the registry does not answer, so that nothing is known.
"""


@dataclass(frozen=True)
class World:
    """The surroundings of the release commands of one clone."""

    clock: Clock
    disk: Disk
    git: Git
    random: Random
    registry: Registry
    prove: Prove
