"""Whether the code that judges a candidate is that of its commit: the files of its task and of its rules.

Modules are imported from the project's folder, where they may be edited. A verdict names its commit, so that
another clone gets the same one.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from sacpipe.core.errors import ConfigError, ReleaseError
from sacpipe.project.git import GitTree
from sacpipe.project.stage_key import dvc_md5, locked_outs
from sacpipe.release.candidate import uncommitted_files, unheld


def require_committed(root: Path, commit: str, files: Mapping[str, str]) -> None:
    """Refuse where files of task or rules are not as a commit has them.

    Outputs of stages, and data that DVC's pointers name, are no part of a commit.

    Args:
        root: The project's folder.
        commit: The commit of the candidate.
        files: DVC's digest of each file or folder as it is here; see `dvc_md5`.

    Raises:
        ReleaseError: some differ. The message has them, and the commands that help.
        ConfigError: the commit is not in the repository.
    """
    tree = GitTree(root, commit)
    missing = set(unheld(tree, files, _made(tree)))
    edited = {path for path, md5 in files.items() if tree.holds(path) and dvc_md5(tree, path) != md5}
    if missing or edited:
        raise ReleaseError(
            f"the verdict on this version is that of commit {commit[:12]}, and files of its task or rules "
            f"differ from it: {', '.join(sorted(missing | edited))}. {_advice(root, commit, missing, edited)}"
        )


def _made(tree: GitTree) -> dict[str, str]:
    """Return DVC's digest of every output of a stage in the commit."""
    try:
        stages = tree.yaml("dvc.lock").get("stages") or {}
    except ConfigError:
        return {}
    return {path: md5 for entry in stages.values() for path, md5 in locked_outs(entry).items()}


def _advice(root: Path, commit: str, missing: set[str], edited: set[str]) -> str:
    if outside := sorted(path for path in missing if Path(path).is_absolute()):
        return (
            f"No commit of the project can hold {', '.join(outside)}: move it into the project, or install "
            "its package, not as an editable one."
        )
    if changed := uncommitted_files(root, sorted(missing | edited)):
        return (
            "Commit them:\n"
            f'  git add {_words(changed)} && git commit -m "task and rules"\n'
            "or put them aside for the release, and fetch them afterwards with `git stash pop`:\n"
            f"  git stash push --include-untracked -- {_words(changed)}"
        )
    if edited:
        return (
            "Place them as the commit has them for the release, and afterwards as they are now:\n"
            f"  git restore --source={commit[:12]} -- {_words(sorted(edited))}\n"
            f"  git restore -- {_words(sorted(edited))}"
        )
    return f"git ignores them. Add them:\n  git add --force {_words(sorted(missing))} && git commit -m rules"


def _words(paths: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, paths))
