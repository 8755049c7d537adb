"""The child process in which DVC works: it imports dvc, does one operation and answers in JSON.

    python -P child.py OPERATION ARGUMENTS

OPERATION is a public function below, ARGUMENTS a JSON list. The descriptor that the variable SACPIPE_ANSWER
names gets one JSON object a line: `{"started": true}` when a stage's command starts, and at the end
`{"result": ...}`, or `{"error": ..., "message": ..., "advice": ...}`, whose error is `stage` (with `status`),
`params` or `dvc`. What a stage prints goes through, and so do DVC's warnings and progress bars.

It imports nothing of sacpipe, and DVC by its public API, except the text of one exception (`_STATUS`) and the
objects of a cache (`garbage`).
"""

import contextlib
import errno
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dvc.config import NoRemoteError
from dvc.dependency.param import MissingParamsError
from dvc.exceptions import CheckoutError, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.repo.open_repo import clean_repos
from dvc.scm import SCMError
from dvc.stage.exceptions import StageCmdFailedError
from dvc.utils.serialize import ParseError

_DESCRIPTOR = int(os.environ.pop("SACPIPE_ANSWER", "1"))
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STATUS = re.compile(r", exited with (-?\d+)$")
"""End of the text of a StageCmdFailedError, which has no attribute with the exit status."""
_MAX_LOGGED = 8
"""Maximum number of logged errors in an answer."""
_NOT_WRITABLE = "The remote or the cache cannot be written; `dvc remote list` names it."
_ADVICE: dict[type[Exception], str] = {
    NotDvcRepoError: "DVC is not set up here: run `dvc init` (`--no-scm` without git).",
    SCMError: "Without git, run `dvc config core.no_scm true`; or work in a clone.",
    NoRemoteError: "Set one: `dvc remote add -d local .sacpipe/dvcstore`.",
    CheckoutError: "The cache lacks files. `dvc pull` fetches them; `dvc repro` creates them again.",
}
_ADVICE_BY_NUMBER = {
    errno.EACCES: _NOT_WRITABLE,
    errno.EROFS: _NOT_WRITABLE,
    errno.ENOENT: "`dvc remote list` names the remote; its folder cannot be created.",
    errno.ENOSPC: "The disk is full. Free some space and run the command again.",
}


class _LoggedErrors(logging.Handler):
    """Keeps errors that DVC logs before it raises one that only counts them, as of a failed transfer."""

    texts: tuple[str, ...] = ()
    causes: tuple[BaseException, ...] = ()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep text and cause."""
        cause = record.exc_info[1] if record.exc_info else None
        self.texts += (record.getMessage(),) if cause is None else (f"{record.getMessage()} - {cause}",)
        self.causes += () if cause is None else (cause,)


def reproduce(repo: Repo, stage: str, force: bool) -> str:
    """Bring a stage up to date; return `ran`, `restored` or `unchanged`."""
    commands: list[str] = []

    def see_command(event: str, arguments: tuple[Any, ...]) -> None:
        # The command of a stage, and no other process, gets DVC's documented variable DVC_STAGE.
        if event == "subprocess.Popen" and "DVC_STAGE" in (arguments[3] or ()) and not commands:
            commands.append(stage)
            _answer(started=True)

    os.environ.pop("DVC_STAGE", None)  # of a stage around this process
    sys.addaudithook(see_command)
    changed = repo.reproduce(stage, single_item=True, force=force, run_cache=not force)
    return "ran" if commands else "restored" if changed else "unchanged"


def checkout(repo: Repo, stage: str) -> None:
    """Restore the outputs of a stage from the cache."""
    repo.checkout([stage], force=True)


def place(repo: Repo, folder: str) -> None:
    """Restore all outputs that another folder's dvc.lock names, from this project's cache or remote."""
    name = repo.config["core"].get("remote")
    config = {"core": {"no_scm": True}, "cache": {"dir": repo.cache.local_cache_dir}}
    if name:
        config |= {"core": {"no_scm": True, "remote": name}, "remote": dict(repo.config["remote"])}
    with Repo(folder, config=config) as other:
        try:
            other.checkout(force=True)
        except CheckoutError:
            if not name:
                raise
            other.fetch()
            other.checkout(force=True)


def push(repo: Repo) -> int:
    """Send the files of the graph and of the run-cache to the default remote; return their number."""
    return int(repo.push(run_cache=True))


def add(repo: Repo, path: str) -> None:
    """Track a file or a folder."""
    repo.add(path)


def get(repo: Repo, repository: str, path: str, commit: str, destination: str) -> None:
    """Copy what a commit tracks."""
    try:
        repo.get(repository, path, out=destination, rev=commit)
    finally:
        clean_repos()


def cache(repo: Repo) -> dict[str, Any]:
    """Return where the cache is, and whom it serves."""
    section, core = repo.config["cache"], repo.config["core"]
    return {
        "folder": repo.cache.local_cache_dir,
        "root": repo.root_dir,
        "is_shared": section.get("shared") is not None,
        "has_commits": not core.get("no_scm", False),
    }


def garbage(repo: Repo, folder: str, remove: bool) -> list[tuple[str, int]]:
    """Return path and size of the cache's files that nothing names, and remove them where that is wanted.

    They are named by this project's files and experiments, by the commits in the file `commits` of `folder`,
    or by a dvc.lock anywhere below it. DVC's own `gc` has these rules, but takes no folder without git beside
    a project with it, and tells no sizes.
    """
    commits = (Path(folder) / "commits").read_text().split()
    has_commits = cache(repo)["has_commits"]
    own = {"core": {"no_scm": True}, "cache": {"dir": repo.cache.local_cache_dir}}
    lock = repo.lock if remove else contextlib.nullcontext()  # a list need not keep a training waiting
    with lock, Repo(folder, config=own) as other:
        own_objects = repo.used_objs(all_experiments=has_commits, revs=commits, force=True)
        in_use = [own_objects, other.used_objs(force=True)]
        used = [info for objects in in_use for infos in objects.values() for info in infos]
        found: dict[str, int] = {}
        for odb in {id(odb): odb for _, odb in repo.cache.by_scheme() if odb}.values():
            kept = {info.value for info in used if info.name == odb.hash_name}
            paths = [odb.oid_to_path(oid) for oid in odb.all() if oid not in kept]
            found |= {str(path): path.stat().st_size for path in map(Path, paths) if path.is_file()}
            if remove and paths:
                odb.fs.remove(paths)
    return sorted(found.items())


def remote(repo: Repo) -> tuple[str, str] | None:
    """Return name and address of the default remote; None where there is none."""
    name = repo.config["core"].get("remote")
    return name and (name, repo.config["remote"].get(name, {}).get("url", "no address"))


def main() -> None:
    """Do the operation that the arguments name, and answer; exit code 1 where DVC failed."""
    logged = _LoggedErrors(logging.ERROR)
    for logger in map(logging.getLogger, ("dvc", "dvc_objects", "dvc_data")):
        for handler in logger.handlers:
            handler.addFilter(lambda record: record.levelno == logging.WARNING)
        logger.addHandler(logged)
    operations: dict[str, Callable[..., Any]] = {
        one.__name__: one for one in (reproduce, checkout, place, push, add, get, cache, garbage, remote)
    }
    name, arguments = sys.argv[1:]
    sys.argv[:] = ["dvc", name]  # DVC writes it into its locks
    try:
        with Repo() as repo:
            _answer(result=operations[name](repo, *json.loads(arguments)))
    except Exception as exc:  # noqa: BLE001 - it is the answer
        _answer(**_described(exc, logged))
        sys.exit(1)


def _answer(**fields: Any) -> None:
    os.write(_DESCRIPTOR, json.dumps(fields).encode() + b"\n")


def _described(error: Exception, logged: _LoggedErrors) -> dict[str, Any]:
    """Return an error and its causes as the fields of an answer."""
    chain = list(_causes(error))
    if any(isinstance(one, LockError) for one in chain):
        message = " ".join(_COLOURS.sub("", str(chain[-1])).split()).partition(". ")[0].rstrip(".") + "."
        return {"error": "dvc", "message": message, "advice": _who_locks()}
    if isinstance(chain[-1], StageCmdFailedError):
        status = _STATUS.search(str(chain[-1]))
        return {"error": "stage", "message": str(chain[-1]), "status": int(status[1]) if status else None}
    wrong = [n for n, one in enumerate(chain) if isinstance(one, (MissingParamsError, ParseError))]
    texts = (
        [": ".join(map(str, chain[max(wrong) :]))]
        if wrong
        else [*logged.texts[:_MAX_LOGGED], ": ".join(map(str, chain))]
    )
    message = _COLOURS.sub("", " ".join(" ".join(texts).split())) or type(error).__name__
    found = [one for first in (error, *logged.causes) for one in _causes(first)]
    advice = [text for kind, text in _ADVICE.items() if any(isinstance(one, kind) for one in found)]
    advice += [_ADVICE_BY_NUMBER.get(one.errno or 0, "") for one in found if isinstance(one, OSError)]
    return {"error": "params" if wrong else "dvc", "message": message, "advice": next(iter(advice), "")}


def _who_locks() -> str:
    """Return which process holds DVC's lock of this folder, and what to do."""
    try:
        holder = Path(".dvc/tmp/lock").read_text().strip()
    except OSError:
        holder = ""
    holder = f" (process {holder})" if holder.isdigit() else ""
    return f"Another dvc process{holder} works in this folder. Wait until it ends, or stop it."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


if __name__ == "__main__":
    main()
