"""The commit of a candidate: the one that holds its parameters, its code and its entries of dvc.lock.

A policy is released under the release section of that commit, not of the working file. A candidate without
such a commit is uncommitted; the error then has the git commands that commit it. docs/release.md.
"""

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sacpipe.core.errors import ConfigError, ReleaseError, StoreError
from sacpipe.project.dvc.lock_file import LockEntries, read_lock
from sacpipe.project.git import (
    GitTree,
    commits_that_changed,
    file_at,
    head_commit,
    in_repository,
    inputs_at,
    is_shallow,
    repository_fault,
    uncommitted,
)
from sacpipe.project.stage_key import locked_inputs, locked_outs
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.config import ReleaseParams

MAX_COMMITS = 500
"""Largest number of commits that are looked at, of those that changed an input of the candidate."""
_FOLDERS = ("results", "release")
"""Folders that git tracks as a whole."""
_FILES = ("dvc.lock", "dvc.yaml", "params.yaml", "versions.lock")


@dataclass(frozen=True)
class CommittedCandidate:
    """A candidate's commit, and what its parameters say."""

    commit: str
    params: Mapping[str, Any]
    """params.yaml of the commit, not validated: the commit may be of an older version of sacpipe."""

    @property
    def release_params(self) -> ReleaseParams:
        """The sections under which the candidate is judged.

        Raises:
            ConfigError: a section is missing or wrong.
        """
        sections = {name: self.params[name] for name in ReleaseParams.model_fields if name in self.params}
        return ReleaseParams.parse(sections, source=f"params.yaml of commit {self.commit[:12]}")


def present_entries(workspace: Workspace) -> LockEntries:
    """Return the entries of the stages in the project's dvc.lock.

    Raises:
        StoreError: dvc.lock cannot be read, or a stage never ran.
    """
    entries = read_lock(workspace.dvc_lock)
    for stage in STAGES:
        if stage not in entries:
            raise StoreError(f"{workspace.dvc_lock}: stage '{stage}' never ran. `sacpipe run` runs it.")
    return {stage: entries[stage] for stage in STAGES}


def find_commit(workspace: Workspace, entries: LockEntries) -> CommittedCandidate:
    """Return the newest ancestor of the checked-out commit that holds a candidate; that commit comes first.

    Args:
        workspace: The project.
        entries: The candidate's entries of dvc.lock by stage.

    Raises:
        ReleaseError: no commit holds it. The message has what git lacks, and the commands that commit it.
        ConfigError: the project is in no git repository.
    """
    root = workspace.root
    if (fault := repository_fault(root)) is not None:
        raise ConfigError(
            f"{root}: a release needs the commit that holds its parameters, code and dvc.lock, and there is "
            f"no git repository: {fault}. If there is none yet, make one:\n"
            '  git init && git add --all && git commit -m "start"'
        )
    head = head_commit(root)
    if head is None:
        raise ReleaseError(
            'the repository has no commit yet. Commit the project:\n  git add --all && git commit -m "start"'
        )
    changed = commits_that_changed(root, _inputs(entries), MAX_COMMITS)
    for commit in dict.fromkeys([head, *changed]):
        if _names_outputs(root, commit, entries) and not any(_lacks(root, commit, entries)):
            return CommittedCandidate(commit, GitTree(root, commit).yaml("params.yaml"))
    raise ReleaseError(_advice(workspace, entries, head, len(changed)))


def _inputs(entries: LockEntries) -> list[str]:
    deps = {path for entry in entries.values() for path in locked_inputs(entry).deps}
    return [*_FILES, *sorted(deps - set(_made(entries)))]


def _made(entries: LockEntries) -> dict[str, str]:
    """Return DVC's digest of every output of a stage."""
    return {path: md5 for entry in entries.values() for path, md5 in locked_outs(entry).items()}


def _names_outputs(root: Path, commit: str, entries: LockEntries) -> bool:
    """Return whether a commit's dvc.lock may hold the entries: a look at its bytes, because YAML is slow."""
    text = file_at(root, commit, "dvc.lock") or b""
    return all(md5.encode() in text for md5 in _made(entries).values())


def _lacks(root: Path, commit: str, entries: LockEntries) -> Iterator[str]:
    """Yield what a commit lacks of a candidate, as `StageInputs.differences` names it."""
    tree = GitTree(root, commit)
    try:
        locked = tree.yaml("dvc.lock").get("stages") or {}
    except ConfigError:
        locked = {}
    for stage, entry in entries.items():
        inputs = locked_inputs(entry)
        if stage not in locked or not _is_same(locked[stage], entry):
            yield "dvc.lock"
        found = inputs_at(root, commit, stage, inputs)
        yield from [f"dvc.yaml ({stage})"] if found is None else found.differences(inputs)
        yield from unheld(tree, inputs.deps, _made(entries))


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    try:
        return locked_inputs(one).key == locked_inputs(other).key and locked_outs(one) == locked_outs(other)
    except (StoreError, ConfigError, KeyError):
        return False


def unheld(tree: GitTree, files: Mapping[str, str], made: Mapping[str, str]) -> Iterator[str]:
    """Yield the files that are neither in the commit nor outputs of a stage nor data of DVC.

    `inputs_at` takes the digest of such a file as known, because no commit has the outputs of stages.

    Args:
        tree: The commit.
        files: DVC's digest of each.
        made: DVC's digest of each output.
    """
    for path, md5 in files.items():
        places = [path, *map(str, PurePosixPath(path).parents)]
        if not tree.holds(path) and not any(
            place in made or _points(tree, place, path, md5) for place in places
        ):
            yield path


def _points(tree: GitTree, place: str, path: str, md5: str) -> bool:
    """Return whether DVC's pointer in the commit names a dependency, or a folder above it.

    A folder's digest is in its pointer, and those of its files are in DVC's cache alone.
    """
    pointer = f"{place}.dvc"
    if not tree.holds(pointer):
        return False
    outs = tree.yaml(pointer).get("outs") or ()
    return place != path or any(isinstance(out, Mapping) and out.get("md5") == md5 for out in outs)


def _advice(workspace: Workspace, entries: LockEntries, head: str, looked: int) -> str:
    """Return why no commit holds the candidate, and the commands that help."""
    root = workspace.root
    shallow = " This clone is shallow: `git fetch --unshallow` brings its older commits." * is_shallow(root)
    present = read_lock(workspace.dvc_lock)
    if not all(stage in present and _is_same(present[stage], entry) for stage, entry in entries.items()):
        md5 = next(iter(locked_outs(entries["export"]).values()))
        return (
            f"none of the {looked} newest commits of this branch that changed an input holds the "
            f"candidate, and dvc.lock holds another one.{shallow} This names its commits on other branches:\n"
            f"  git log --all --oneline -S {md5} -- dvc.lock"
        )
    tree, lacking = GitTree(root, head), {_file(name) for name in _lacks(root, head, entries)}
    changed = uncommitted_files(root, [*_inputs(entries), *_FOLDERS])
    unchanged = sorted(path for path in lacking if not _is_below(path, changed))
    if stale := [path for path in unchanged if tree.holds(path) or not (root / path).exists()]:
        return (
            f"commit {head[:12]} holds another {', '.join(stale)} than the run of the candidate.{shallow} "
            "`sacpipe run` makes the policy of this commit."
        )
    added = [f"git add {_words(_shortened(changed))}"] if changed else []
    added += [f"git add --force {_words(unchanged)}"] if unchanged else []  # git ignores them
    return (
        f"the candidate is uncommitted: {', '.join([*_shortened(changed), *unchanged])}. A policy is "
        "released by the commit that holds its parameters, code and dvc.lock. Commit them:\n"
        f'  {" && ".join(added)} && git commit -m "a candidate"'
    )


def _file(name: str) -> str:
    """Return the file of a difference, see `StageInputs.differences`."""
    path = name.partition(" (")[0]
    return {"params": "params.yaml", "cmd": "dvc.yaml"}.get(path, path)


def uncommitted_files(root: Path, paths: Iterable[str]) -> list[str]:
    """Return the files that differ from the commit, relative to the project; git names them from its top."""
    _, project = in_repository(root, "")
    return sorted(os.path.relpath(path, project or ".") for path in uncommitted(root, paths))


def _is_below(path: str, changed: Iterable[str]) -> bool:
    return any(one == path or one.startswith(f"{path}/") for one in changed)


def _shortened(changed: Iterable[str]) -> list[str]:
    """Return the paths to add, those that git tracks as a whole by their folder."""
    tops = (top if (top := path.partition("/")[0]) in _FOLDERS else path for path in changed)
    return list(dict.fromkeys(tops))


def _words(paths: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, paths))
