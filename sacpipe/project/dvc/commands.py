"""DVC's commands, each run as a child process of ours that answers in JSON. No other module runs DVC.

A stage that fails or is stopped leaves no process running, and its earlier outputs are restored. The
outcome of a stage is *ran*, *restored* or *unchanged*. The operator reads the stage's own messages alone.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from sacpipe.core.errors import ConfigError, InterruptedRunError, StoreError
from sacpipe.core.files import storage_errors, write_bytes, write_json, write_text
from sacpipe.core.proxies import without_proxy_on_loopback
from sacpipe.project.dvc.failures import Answer
from sacpipe.project.dvc.graph import graph_outputs
from sacpipe.project.dvc.lock_file import LockEntries, read_lock
from sacpipe.project.dvc.stale_locks import remove_stale_locks
from sacpipe.project.process_group import Receiver, run_group
from sacpipe.project.stage import ERROR_FILE

_SHORT_TIMEOUT_S = 600.0
_CHILD = Path(__file__).with_name("child.py")


class Outcome(StrEnum):
    """What `dvc repro` did with a stage."""

    RAN = "ran"
    RESTORED = "restored"
    UNCHANGED = "unchanged"


class CacheFacts(NamedTuple):
    """Where DVC's cache is, and whom it serves."""

    folder: Path
    root: Path
    """Folder of the DVC project; the workspace or a folder above it."""
    is_shared: bool
    """Whether `cache.shared` is set: several people write into it."""
    has_commits: bool
    """Whether DVC reads the commits; not with `core.no_scm`."""


@dataclass(frozen=True)
class DvcStore:
    """DVC in one project folder."""

    root: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables added to this process's own."""
    grace_s: float = 30.0
    """Seconds that a stopped stage may take to write its checkpoint."""

    def reproduce(
        self,
        stage: str,
        *,
        on_output: Callable[[str], None] | None = None,
        force: bool = False,
    ) -> Outcome:
        """Bring one stage up to date (`dvc repro -s`), and return how DVC did it.

        Args:
            stage: Its name in dvc.yaml; earlier stages are not checked.
            on_output: Called with each line that the stage writes. Where stderr is a terminal, the lines of
                stderr go to the terminal instead.
            force: Run the stage even where it is up to date or the run-cache has its result.

        Raises:
            StageError: the stage failed; carries its own message, its exit code and whether a retry may help.
            InterruptedRunError: Ctrl-C; the stage had time to write its checkpoint.
            ConfigError: params.yaml lacks a value that the stage needs.
            StoreError: DVC itself failed; the message holds DVC's error.
        """
        outs = self._outs(stage)
        # DVC deletes small metrics that it does not cache, and cannot restore them.
        files = [self.root / path for path, cached in outs.items() if not cached]
        uncached = {file: file.read_bytes() for file in files if file.is_file()}
        answer = Answer(on_output)
        with tempfile.NamedTemporaryFile(prefix="stage-error-") as reported:
            try:
                self._dvc(answer, "reproduce", stage, force, reported=reported.name)
            except BaseException as exc:
                self._restore_outputs(stage, outs, uncached, answer)
                if isinstance(exc, KeyboardInterrupt):
                    raise InterruptedRunError(
                        f"stage '{stage}' was interrupted. Run the command again: it continues from its last "
                        "checkpoint."
                    ) from exc
                raise
            if "result" not in answer.fields:
                self._restore_outputs(stage, outs, uncached, answer)
                raise answer.stage_failure(stage, reported.read())
        return Outcome(answer.fields["result"])

    def push(self) -> str:
        """Send this graph's files in the cache to the default remote; return a summary.

        Raises:
            StoreError: no remote is set, or it cannot be written.
        """
        count = self._result("push", timeout_s=None)
        return f"{count} file{'s' * (count > 1)} pushed" if count else "Everything is up to date."

    def cache(self) -> CacheFacts:
        """Return where the cache is, and whom it serves."""
        facts = self._result("cache")
        return CacheFacts(
            Path(facts["folder"]), Path(facts["root"]), facts["is_shared"], facts["has_commits"]
        )

    def garbage(
        self, needed: Iterable[LockEntries], commits: Sequence[str], *, remove: bool
    ) -> list[tuple[Path, int]]:
        """Return path and size in bytes of each file in the cache that is not needed. No remote is changed.

        Args:
            needed: Entries of dvc.lock whose outputs are needed beside those that the project's files name.
            commits: Commits whose outputs are needed too, see `git.data_commits`. DVC reads every file of
                each: 0.1 s for one of a thousand files.
            remove: Whether the files are removed.

        Raises:
            StoreError: DVC failed, e.g. because a commit has a dvc.yaml that cannot be read.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with storage_errors(folder):
                (folder / ".dvc").mkdir()
                (folder / "commits").write_text("\n".join(commits))
            for number, entries in enumerate(needed):
                _write_graph(entries, folder / str(number))
            found = self._result("garbage", name, remove, timeout_s=None)
        return [(Path(path), size) for path, size in found]

    def place(self, entries: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
        """Place outputs of an older dvc.lock under another folder, from this project's cache or its remote.

        Args:
            entries: Entries by stage; their `outs` name the outputs to place.
            folder: An empty folder, in which a DVC project is made.

        Raises:
            StoreError: neither the cache nor the default remote has a file.
        """
        _write_graph(entries, folder)
        with storage_errors(folder):
            (folder / ".dvc").mkdir(exist_ok=True)
        self._result("place", str(folder))

    def add(self, path: Path) -> None:
        """Track a file or folder of the project: its bytes in DVC's cache, its digest in `<path>.dvc`.

        Raises:
            StoreError: DVC failed.
        """
        self._result("add", str(path.relative_to(self.root)), timeout_s=None)

    def get(self, repository: str, path: str, commit: str, destination: Path) -> None:
        """Copy what a commit tracks, from this project's cache or the commit's default remote.

        Args:
            repository: The git repository's folder, relative to the project's.
            path: Path of a tracked file or folder, or of a part of one, relative to the repository's folder.
            commit: The commit.
            destination: Path of the copy. It must not exist; the folder above it must.

        Raises:
            StoreError: the commit tracks no such path, or neither cache nor remote holds it.
        """
        answer = Answer()
        self._dvc(answer, "get", repository, path, commit, str(destination))
        if "result" not in answer.fields:
            raise StoreError(
                f"DVC cannot give {path} of commit {commit[:12]} ({answer.message}). `dvc fetch` may help."
            )

    def isolated(self) -> "DvcStore":
        """Separate this folder from every other project and return its store: no git, its own cache.

        A stage started as `python -m` imports the folder's modules before installed ones, even where the
        operator set PYTHONSAFEPATH.
        """
        write_text(self.root / ".dvc" / "config.local", "[core]\n no_scm = true\n[cache]\n dir = cache\n")
        own = {"DVC_SITE_CACHE_DIR": str(self.root / ".dvc" / "site"), "PYTHONSAFEPATH": ""}
        return DvcStore(self.root, {**self.variables, **own}, self.grace_s)

    def describe(self) -> str:
        """Return DVC's version and the default remote, in one line.

        Raises:
            StoreError: DVC is not set up here, or has no default remote.
        """
        remote = self._result("remote")
        if remote is None:
            raise StoreError(
                f"DVC in {self.root} has no default remote. Set one: `dvc remote add -d NAME FOLDER`."
            )
        return f"DVC {version('dvc')}, remote '{remote[0]}' at {remote[1]}"

    def _result(self, operation: str, *arguments: object, timeout_s: float | None = _SHORT_TIMEOUT_S) -> Any:
        """Do an operation, and return its result."""
        answer = Answer()
        try:
            self._dvc(answer, operation, *arguments, timeout_s=timeout_s)
        except TimeoutError as exc:
            raise StoreError(
                f"DVC's `{operation}` in {self.root} did not end within {timeout_s:g} s. Check the "
                "disks of the cache and of the remote, then run the command again."
            ) from exc
        if "result" not in answer.fields:
            raise answer.failure(f"DVC's `{operation}`")
        return answer.fields["result"]

    def _dvc(
        self,
        answer: Answer,
        operation: str,
        *arguments: object,
        timeout_s: float | None = None,
        reported: str | None = None,
        terminal: bool = True,
    ) -> None:
        """Do an operation of child.py, and collect its answer.

        Args:
            answer: Gets the fields of the answer.
            operation: Name of a function of child.py.
            arguments: Its arguments.
            timeout_s: Seconds until the process is stopped, or None for no limit.
            reported: File in which a stage tells its error.
            terminal: Whether progress is shown where stderr is a terminal.
        """
        if find_spec("dvc") is None:
            raise StoreError("DVC is not installed for this Python: install the extra `pipeline`.")
        remove_stale_locks(self.root)
        variables = {**os.environ, **self.variables}
        own = str(Path(sys.executable).parent)
        environment = {
            "DVC_NO_ANALYTICS": "1",
            **variables,
            **without_proxy_on_loopback(variables),
            "PATH": os.pathsep.join([own, variables.get("PATH", os.defpath)]),  # `python` is this one
            "PYTHONUNBUFFERED": "1",
            **({} if reported is None else {ERROR_FILE: reported}),
        }
        # -P: a file of the project named like one of DVC's modules must not be imported instead.
        run_group(
            [sys.executable, "-P", str(_CHILD), operation, json.dumps(arguments)],
            folder=self.root,
            environment=environment,
            receiver=Receiver(answer, terminal),
            timeout_s=timeout_s,
            grace_s=self.grace_s,
        )

    def _outs(self, stage: str) -> dict[str, bool]:
        """Return whether DVC caches each output of a stage, by path."""
        outs = graph_outputs(self.root / "dvc.yaml")
        if stage not in outs:
            raise ConfigError(f"{self.root / 'dvc.yaml'}: no stage '{stage}'; it has {', '.join(outs)}.")
        return outs[stage]

    def _restore_outputs(
        self, stage: str, outs: Mapping[str, bool], uncached: Mapping[Path, bytes], answer: Answer
    ) -> None:
        """Restore the outputs that DVC deleted before it ran a stage.

        The half-written outputs of a stage that never succeeded are deleted.
        """
        is_whole = all((self.root / path).exists() for path in outs)
        if "started" not in answer.fields and (is_whole or stage not in read_lock(self.root / "dvc.lock")):
            return
        # Silent, and without a look at its answer: the next command names missing files.
        self._dvc(Answer(), "checkout", stage, terminal=False)
        for file, data in uncached.items():
            write_bytes(file, data)


def _write_graph(entries: LockEntries, folder: Path) -> None:
    """Write a dvc.yaml and a dvc.lock that name the outputs of entries."""
    graph = {
        name: {"cmd": entry["cmd"], "outs": [out["path"] for out in entry["outs"]]}
        for name, entry in entries.items()
    }
    lock = {name: {"cmd": entry["cmd"], "outs": entry["outs"]} for name, entry in entries.items()}
    write_json(folder / "dvc.yaml", {"stages": graph})  # JSON is YAML
    write_json(folder / "dvc.lock", {"schema": "2.0", "stages": lock})
