"""A project's files as a git commit holds them, so that a stage key can be computed from a commit.

Lineage checks "commit X made this policy" with it: the digests of code and params in X must be those the
stage ran on. `sacpipe verify` places the files of X in another folder and runs them. There is no commit
without git, or in a folder that git does not trust. The project's folder and its index are not changed.
"""

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sacpipe.core.errors import ConfigError, StorageError
from sacpipe.project.stage_key import StageInputs, stage_inputs

_FOLDER_DIGEST = re.compile(r"\b[0-9a-f]{32}\.dir\b")
_COMMITS_AT_ONCE = 1000
_DATA_FILES = tuple(
    f":(glob)**/{name}" for name in ("*.dvc", "dvc.lock", ".dvcignore", "*.yaml", "*.yml", "*.json", "*.toml")
)
"""Files that name data of DVC, and those that a dvc.yaml may take the names of its outputs from."""


def head_commit(root: Path) -> str | None:
    """Return the checked-out commit, or None without git."""
    name = _git(root, "rev-parse", "--verify", "HEAD^{commit}")
    return None if name is None else name.decode().strip()


def stashed_commits(root: Path) -> tuple[str, ...]:
    """Return the commits of `git stash`, which no branch holds; none without git."""
    return tuple((_git(root, "stash", "list", "--format=%H") or b"").decode().split())


def lock_digests(root: Path) -> frozenset[str]:
    """Return DVC's digests of folders in the dvc.lock of every commit that a branch, tag or stash holds.

    Remote branches and the checked-out commit count too. There are none without git.

    Raises:
        StorageError: git cannot read the commits.
    """
    if repository_fault(root) is not None:
        return frozenset()
    starts = ("--all", *stashed_commits(root))
    commits = _read(root, "rev-list", "--full-history", *starts, "--", "dvc.lock").split()
    found: set[str] = set()
    for first in range(0, len(commits), _COMMITS_AT_ONCE):
        some = commits[first : first + _COMMITS_AT_ONCE]
        lines = _read(root, "grep", "--no-color", "-haFe", ".dir", *some, "--", "dvc.lock")
        found |= set(_FOLDER_DIGEST.findall(lines))
    return frozenset(found)


def data_commits(root: Path) -> tuple[str, ...]:
    """Return the commits that name different data of DVC than each of their parents; none without git.

    Of all commits that a branch, tag or stash holds, remote branches and the checked-out one included: the
    others name what one of these names. A commit counts if it changed a file that DVC reads.

    Raises:
        StorageError: git cannot read the commits.
    """
    if repository_fault(root) is not None:
        return ()
    stashed = stashed_commits(root)
    changed = _read(root, "rev-list", "--full-history", "--all", *stashed, "--", *_DATA_FILES)
    return tuple(dict.fromkeys((*stashed, *changed.split())))


def repository_fault(root: Path) -> str | None:
    """Return why git knows no repository in a folder, in git's own words; None where it knows one."""
    result = _started(root, "rev-parse", "--git-dir")
    if result is None:
        return "git is not installed"
    words = " ".join(os.fsdecode(result.stderr).split()).removeprefix("fatal: ")
    return None if result.returncode == 0 else words or f"git rev-parse ended with code {result.returncode}"


def is_shallow(root: Path) -> bool:
    """Return whether a clone has the newest commits alone, as of `git clone --depth`."""
    return _places(root, "--is-shallow-repository") == ["true"]


def commits_that_changed(root: Path, paths: Iterable[str], limit: int) -> list[str]:
    """Return the newest ancestors of the checked-out commit that changed some paths, newest first."""
    flags = ("--full-history", f"--max-count={limit}", "--format=%H")
    listing = _git(root, "--literal-pathspecs", "log", *flags, "HEAD", "--", *paths) or b""
    return listing.decode().split()


def file_at(root: Path, commit: str, path: str) -> bytes | None:
    """Return the bytes of a file of the project in a commit, or None where the commit lacks it."""
    return _git(root, "cat-file", "blob", f"{commit}:./{path}")


def uncommitted(root: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the files under some paths that differ from the commit, new files included."""
    flags = ("--porcelain", "-z", "--no-renames", "--untracked-files=all")
    listing = _git(root, "--no-optional-locks", "status", *flags, "--", *paths) or b""
    return tuple(os.fsdecode(entry)[3:] for entry in listing.split(b"\0") if entry)


def place_commit(root: Path, commit: str, folder: Path) -> None:
    """Write the files of a commit to another folder, as a clone of the project has them.

    Raises:
        StorageError: the folder cannot be written, or git lacks a part of the commit.
    """
    # The project may be a subfolder of a repository.
    git_folder, below = _places(root, "--absolute-git-dir", "--show-prefix")
    places = (f"--git-dir={git_folder}", f"--work-tree={folder}")
    with tempfile.TemporaryDirectory() as elsewhere:
        index = {"GIT_INDEX_FILE": str(Path(elsewhere) / "index")}
        arguments = ("read-tree", "--reset", "-u", "--no-sparse-checkout", f"{commit}:{below}")
        if _git(folder, *places, *arguments, variables=index) is None:
            raise StorageError(
                f"commit {commit[:12]} cannot be written to {folder}. Check the free space, and the "
                "repository with `git fsck`."
            )


def in_repository(root: Path, path: str) -> tuple[str, str]:
    """Return the repository's top folder relative to the project, and a project path relative to the top."""
    above, below = _places(root, "--show-cdup", "--show-prefix")
    return above or ".", below + path


def inputs_at(root: Path, commit: str, stage: str, known: StageInputs) -> StageInputs | None:
    """Return a stage's inputs as a commit has them, or None where the commit lacks the stage.

    Args:
        root: The project's folder.
        commit: The commit.
        stage: Name of the stage.
        known: The stage's recorded inputs. No commit has the digests of other stages' outputs.
    """
    try:
        tree = GitTree(root, commit)
        tree.read_ahead(known.deps)
        return stage_inputs(tree, stage, elsewhere=known.deps)
    except ConfigError:
        return None


@dataclass(frozen=True)
class GitTree:
    """The project's files in one commit; a `Tree` of sacpipe/project/stage_key.py."""

    root: Path
    commit: str
    _ahead: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Bytes of files that were read ahead, by object name."""

    def read_ahead(self, paths: Iterable[str]) -> None:
        """Read many files by one process of git; one each takes seconds. Absent ones are left out."""
        wanted = set(paths)
        blobs = [
            blob
            for name, blob in self._blobs.items()
            if name in wanted or any(str(above) in wanted for above in PurePosixPath(name).parents)
        ]
        answers = _git(self.root, "cat-file", "--batch", stdin="\n".join(blobs).encode()) or b""
        place = 0
        while (end := answers.find(b"\n", place)) >= 0:
            words = answers[place:end].split()
            if len(words) != 3:  # `<object> missing`: its own reading says so
                place = end + 1
                continue
            place = end + 1 + int(words[2])
            self._ahead[words[0].decode()] = answers[end + 1 : place]
            place += 1

    @cached_property
    def _blobs(self) -> Mapping[str, str]:
        """Object names by path."""
        listing = _git(self.root, "ls-tree", "-r", "-z", self.commit)
        if listing is None:
            raise ConfigError(f"commit {self.commit} is not in {self.root}. `git fetch` may fetch it.")
        entries = [entry.split("\t", 1) for entry in listing.decode().split("\0") if entry]
        return {path: meta.split()[2] for meta, path in entries if meta.split()[1] == "blob"}

    def yaml(self, path: str) -> dict[str, Any]:
        """Read a YAML mapping."""
        try:
            tree = YAML(typ="safe").load(self._read(path))
        except YAMLError as exc:
            raise ConfigError(f"{path} in commit {self.commit} is not valid YAML: {exc}.") from exc
        return dict(tree) if isinstance(tree, Mapping) else {}

    def files(self, path: str) -> list[str] | None:
        """List the files of a folder."""
        if path in self._blobs:
            return None
        below = [name.removeprefix(f"{path}/") for name in self._blobs if name.startswith(f"{path}/")]
        if not below:
            raise ConfigError(f"{path} is not in commit {self.commit}.")
        return below

    def md5(self, path: str) -> str:
        """Hash a file's bytes."""
        return hashlib.md5(self._read(path), usedforsecurity=False).hexdigest()

    def holds(self, path: str) -> bool:
        """Return whether the commit has the file or folder."""
        return path in self._blobs or any(name.startswith(f"{path}/") for name in self._blobs)

    def ignored(self) -> list[str]:
        """Read .dvcignore; no lines where the commit has none."""
        return self._read(".dvcignore").decode().splitlines() if ".dvcignore" in self._blobs else []

    def _read(self, path: str) -> bytes:
        blob = self._blobs.get(path, "")
        data = self._ahead.get(blob)
        if data is None and blob:
            data = _git(self.root, "cat-file", "blob", blob)
        if data is None:
            raise ConfigError(f"{path} is not in commit {self.commit}.")
        return data


def _read(root: Path, command: str, *arguments: str) -> str:
    """Return the text that a git command prints.

    Raises:
        StorageError: it failed.
    """
    result = _started(root, command, *arguments)
    if result is None or result.returncode > (command == "grep"):  # 1: grep found no line
        why = "" if result is None else " ".join(os.fsdecode(result.stderr).split())[:300]
        raise StorageError(f"{root}: `git {command}` failed: {why} `git fsck` checks the repository.")
    return result.stdout.decode(errors="replace")


def _places(root: Path, *questions: str) -> list[str]:
    return [(_git(root, "rev-parse", question) or b"").decode().strip() for question in questions]


def _git(
    root: Path, *arguments: str, variables: Mapping[str, str] | None = None, stdin: bytes = b""
) -> bytes | None:
    """Return the stdout of a git command, or None where it fails or git is missing."""
    result = _started(root, *arguments, variables=variables, stdin=stdin)
    return result.stdout if result is not None and result.returncode == 0 else None


def _started(
    root: Path, *arguments: str, variables: Mapping[str, str] | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes] | None:
    """Run a git command that reads `stdin`; None where git is missing."""
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],  # noqa: S607 - the git of the operator's PATH
            capture_output=True,
            input=stdin,
            env={**os.environ, **(variables or {})},
            check=False,
        )
    except OSError:
        return None
