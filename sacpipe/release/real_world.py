"""The real clock, disk, git and random numbers of the release commands, and the proof of a version."""

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sacpipe.core.errors import BundleError, ConfigError, StoreError
from sacpipe.core.files import make_folder, storage_errors, sync_folder
from sacpipe.project.workspace import Workspace
from sacpipe.release.world import Actor, World
from sacpipe.tracking.registry import Registry, VersionRecord
from sacpipe.tracking.tracker import Tracker


def open_world(workspace: Workspace, tracker: Tracker) -> World:
    """Return the surroundings of a workspace and its tracker."""
    return World(
        clock=SystemClock(),
        disk=ProjectDisk(workspace.root),
        git=ProjectGit(workspace.root),
        random=SystemRandom(),
        registry=tracker.registry,
        prove=prove_version,
    )


def prove_version(registry: Registry, version: VersionRecord) -> None:
    """Fetch a version's bundle as a robot does, and replay its golden sequences; see `Prove`."""
    from sacpipe.robot.policy import OnnxPolicy

    try:
        with tempfile.TemporaryDirectory() as folder:
            bundle = registry.fetch_bundle(version.name, version.version, Path(folder) / "bundle")
            OnnxPolicy(bundle)  # replays the golden sequences
            registry.smoke_load(version.name, version.version, bundle)  # what other programs load
    except BundleError as exc:
        raise StoreError(
            f"policy '{version.name}', version {version.version}: the registry's copy does not prove itself: "
            f"{exc} `sacpipe ledger rebuild` writes it again where DVC has its bytes.",
            exc.rule or "",
        ) from exc


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class SystemRandom:
    """Random numbers of the operating system."""

    def token(self) -> str:
        """Return 32 hexadecimal digits."""
        return secrets.token_hex(16)


class ProjectDisk:
    """Files below a project's folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a file."""
        with storage_errors(self._root / path):
            try:
                return (self._root / path).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes) -> None:
        """Write a file."""
        with storage_errors(self._root / path):
            make_folder((self._root / path).parent)
            (self._root / path).write_bytes(data)

    def sync(self, path: str) -> None:
        """Make the bytes of a file durable."""
        with storage_errors(self._root / path), (self._root / path).open("rb") as file:
            os.fsync(file.fileno())

    def rename(self, source: str, target: str) -> None:
        """Rename a file."""
        with storage_errors(self._root / target):
            (self._root / source).rename(self._root / target)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with storage_errors(self._root / path):
            (self._root / path).unlink(missing_ok=True)

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable."""
        with storage_errors(self._root / folder):
            sync_folder(self._root / folder)

    def list(self, folder: str) -> list[str]:
        """Return the names of the files in a folder."""
        with storage_errors(self._root / folder):
            if not (self._root / folder).is_dir():
                return []
            return sorted(path.name for path in (self._root / folder).iterdir())


class ProjectGit:
    """The repository of a project's folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def actor(self) -> Actor:
        """Return the identity of a commit.

        Raises:
            ConfigError: there is no repository or no identity, or a merge is in progress.
        """
        try:
            text = self._git("var", "GIT_COMMITTER_IDENT")
            merging = Path(self._root, self._git("rev-parse", "--git-path", "MERGE_HEAD").strip())
        except StoreError as exc:
            raise ConfigError(
                f"a release is committed under release/, and git says: {exc} Make {self._root} a "
                "repository with `git init`, and set `git config user.name` and `git config user.email`."
            ) from exc
        name, _, rest = text.rpartition(" <")
        if merging.exists():
            raise ConfigError(
                f"{self._root}: a merge is in progress. Finish it with `git commit`, or `git merge --abort`."
            )
        return Actor(name=name, email=rest.partition(">")[0])

    def uncommitted(self, folder: str) -> tuple[str, ...]:
        """Return the files under a folder that differ from the commit, ignored ones too.

        Their paths are relative to the project, which may be a folder of a repository.
        """
        flags = ("-z", "--porcelain", "--no-renames", "--untracked-files=all")
        listing = self._git("--no-optional-locks", "status", *flags, "--", folder)
        changed = [entry[3:] for entry in listing.split("\0") if entry]
        if changed:
            within = self._git(
                "rev-parse", "--show-prefix"
            ).strip()  # git lists paths from its own top folder on
            changed = [path.removeprefix(within) for path in changed]
        ignored = self._git("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", folder)
        return (*changed, *(path for path in ignored.split("\0") if path))

    def lost(self, folder: str) -> tuple[str, ...]:
        """Return the files under a folder that the commit has, and the disk lacks or has otherwise."""
        flags = ("-z", "--name-only", "--no-renames", "--diff-filter=DMT", "--relative")
        return tuple(path for path in self._git("diff", *flags, "HEAD", "--", folder).split("\0") if path)

    def commit(self, paths: Sequence[str], message: str) -> str:
        """Commit these paths, and nothing else that is staged; return a line about it.

        Raises:
            StoreError: git failed, e.g. because .gitignore names a path or a hook refuses.
        """
        try:
            self._git("add", "--force", "--", *paths)
            self._git("commit", "--quiet", "--only", "--no-verify", "--message", message, "--", *paths)
        except StoreError as exc:
            raise StoreError(
                f"the records in {', '.join(paths)} are written, and not committed: {exc} The next release "
                "command commits them."
            ) from exc
        return self._commit_line()

    def _commit_line(self) -> str:
        try:
            name, remote = self._git("rev-parse", "--short", "HEAD").strip(), self._git("remote").strip()
        except StoreError:
            return "commit made"  # it is done: its name alone is missing
        return f"commit {name}: `git push` shares it" if remote else f"commit {name}"

    def _git(self, *arguments: str) -> str:
        try:
            result = subprocess.run(
                ["git", "-C", str(self._root), *arguments],  # noqa: S607 - the git of the operator's PATH
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except OSError as exc:
            raise StoreError(f"git cannot be started: {exc}.") from exc
        if result.returncode:
            message = " ".join(result.stderr.decode(errors="replace").split())[:500]
            raise StoreError(f"`git {arguments[0]}`: {message or f'exit code {result.returncode}'}.")
        return os.fsdecode(result.stdout)
