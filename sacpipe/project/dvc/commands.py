"""DVC's commands, each run as a child process. No other module runs DVC.

A stage that fails or is stopped leaves no process running, and its earlier outputs are restored. The
outcome of a stage is *ran*, *restored* or *unchanged*. The operator reads the stage's own messages
without those that DVC prints around them.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sacpipe.core.errors import ConfigError, InterruptedRunError, StoreError
from sacpipe.core.files import write_bytes, write_json, write_text
from sacpipe.core.proxies import without_proxy_on_loopback
from sacpipe.project.dvc.graph import graph_outputs
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.dvc.messages import (
    DVC_LINES,
    STAGE_LINES,
    CommandOutput,
    dvc_failure,
    stage_error,
    stage_failure,
)
from sacpipe.project.dvc.stale_locks import remove_stale_locks
from sacpipe.project.process_group import Receiver, run_group
from sacpipe.project.terminal_copy import TerminalRules

_SHORT_TIMEOUT_S = 600.0


class Outcome(StrEnum):
    """What `dvc repro` did with a stage."""

    RAN = "ran"
    RESTORED = "restored"
    UNCHANGED = "unchanged"


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
        timeout_s: float | None = None,
        force: bool = False,
    ) -> Outcome:
        """Bring one stage up to date (`dvc repro -s`), and return how DVC did it.

        Args:
            stage: Its name in dvc.yaml; earlier stages are not checked.
            on_output: Called with each line that DVC and the stage write. Where stderr is a terminal, the
                lines of stderr go to the terminal instead.
            timeout_s: Seconds until the stage is stopped, or None for no limit.
            force: Run the stage even where it is up to date or the run-cache has its result.

        Raises:
            StageError: the stage failed; carries its own message, its exit code and whether a retry may help.
            InterruptedRunError: Ctrl-C; the stage had time to write its checkpoint.
            ConfigError: params.yaml lacks a value that the stage needs.
            StoreError: DVC itself failed; the message holds DVC's error.
        """
        before = self.lock_entries().get(stage)
        outs = self._outs(stage)
        had_outs = all((self.root / path).exists() for path in outs)
        uncached = self._read_files(path for path, cached in outs.items() if not cached)
        output = CommandOutput(on_output)
        options = ["--single-item", *(("--force", "--no-run-cache") if force else ())]
        remove_stale_locks(self.root)
        try:
            status = self._dvc(["repro", *options, stage], output, timeout_s, terminal=STAGE_LINES)
        except BaseException as exc:
            self._restore_outputs(stage, outs, uncached, output)
            if isinstance(exc, TimeoutError):
                raise stage_error(
                    f"stage '{stage}' was stopped after {timeout_s:g} s. Run the command again: it continues "
                    "from its last checkpoint.",
                    retryable=True,
                ) from exc
            if isinstance(exc, KeyboardInterrupt):
                raise InterruptedRunError(
                    f"stage '{stage}' was interrupted. Run the command again: it continues from its last "
                    "checkpoint."
                ) from exc
            raise
        if status != 0:
            self._restore_outputs(stage, outs, uncached, output)
            raise stage_failure(stage, output)
        return self._outcome(stage, output, before, had_outs)

    def push(self) -> str:
        """Send this graph's files in the cache to the default remote; return DVC's summary.

        Raises:
            StoreError: no remote is set, or it cannot be written.
        """
        lines = self._run(["push", "--run-cache"], timeout_s=None).stdout
        return lines[-1] if lines else "done"

    def place(self, entries: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
        """Place outputs of an older dvc.lock under another folder, from this project's cache.

        Args:
            entries: Entries by stage; their `outs` name the outputs to place.
            folder: An empty folder, in which a DVC project is made.

        Raises:
            StoreError: the cache lacks a file; `dvc fetch --all-commits` may bring it.
        """
        cache = self._run(["cache", "dir"]).stdout[-1]
        quote = "'" if '"' in cache else '"'  # outside quotes, `#` begins a comment
        config = (
            "[core]\n no_scm = true\n analytics = false\n check_update = false\n"
            f"[cache]\n dir = {quote}{cache}{quote}\n"
        )
        graph = {
            name: {"cmd": entry["cmd"], "outs": [out["path"] for out in entry["outs"]]}
            for name, entry in entries.items()
        }
        lock = {name: {"cmd": entry["cmd"], "outs": entry["outs"]} for name, entry in entries.items()}
        write_text(folder / ".dvc" / "config", config)
        write_json(folder / "dvc.yaml", {"stages": graph})  # JSON is YAML
        write_json(folder / "dvc.lock", {"schema": "2.0", "stages": lock})
        DvcStore(folder, self.variables, self.grace_s)._run(["checkout", "--force"])  # noqa: SLF001 - itself

    def add(self, path: Path) -> None:
        """Track a file or folder of the project: its bytes in DVC's cache, its digest in `<path>.dvc`.

        Raises:
            StoreError: DVC failed.
        """
        self._run(["add", str(path.relative_to(self.root))], timeout_s=None)

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
        output = CommandOutput()
        arguments = ["get", repository, path, "--rev", commit, "--out", str(destination)]
        if self._dvc(arguments, output, None) != 0:
            raise StoreError(
                f"DVC cannot give {path} of commit {commit[:12]} ({output.error_text}). `dvc fetch` may help."
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
        lines = self._run(["config", "--list"]).stdout
        settings = dict(line.split("=", 1) for line in lines if "=" in line)
        name = settings.get("core.remote")
        if name is None:
            raise StoreError(
                f"DVC in {self.root} has no default remote. Set one: `dvc remote add -d NAME FOLDER`."
            )
        return f"DVC {version('dvc')}, remote '{name}' at {settings.get(f'remote.{name}.url', 'no address')}"

    def lock_entries(self) -> dict[str, dict[str, Any]]:
        """Return the entries of dvc.lock by stage.

        Raises:
            StoreError: dvc.lock cannot be read.
        """
        return read_lock(self.root / "dvc.lock")

    def _run(self, arguments: list[str], timeout_s: float | None = _SHORT_TIMEOUT_S) -> CommandOutput:
        output = CommandOutput()
        remove_stale_locks(self.root)
        try:
            status = self._dvc(arguments, output, timeout_s)
        except TimeoutError as exc:
            raise StoreError(
                f"`dvc {arguments[0]}` in {self.root} did not end within {timeout_s:g} s. Check the "
                "disks of the cache and of the remote, then run the command again."
            ) from exc
        if status != 0:
            raise dvc_failure(f"`dvc {arguments[0]}`", output)
        return output

    def _dvc(
        self,
        arguments: list[str],
        output: CommandOutput,
        timeout_s: float | None,
        terminal: TerminalRules | None = DVC_LINES,
    ) -> int:
        variables = {**os.environ, **self.variables}
        own = str(Path(sys.executable).parent)
        environment = {
            "DVC_NO_ANALYTICS": "1",
            **variables,
            **without_proxy_on_loopback(variables),
            "PATH": os.pathsep.join([own, variables.get("PATH", os.defpath)]),  # `python` is this one
            "PYTHONUNBUFFERED": "1",
        }
        # -P: a file of the project named like one of DVC's modules must not be imported instead.
        command = [sys.executable, "-P", "-m", "dvc", *arguments]
        return run_group(
            command,
            folder=self.root,
            environment=environment,
            receiver=Receiver(output, terminal),
            timeout_s=timeout_s,
            grace_s=self.grace_s,
        )

    def _outcome(
        self, stage: str, output: CommandOutput, before: dict[str, Any] | None, had_outs: bool
    ) -> Outcome:
        """Return what happened, from DVC's messages, dvc.lock and the outputs.

        dvc.lock alone is not enough: it stays the same when a stage runs again with the same result, and
        it changes when DVC takes the result from the run-cache.
        """
        if output.ran(stage):
            return Outcome.RAN
        if output.restored(stage):
            return Outcome.RESTORED
        unmoved = before is not None and before == self.lock_entries().get(stage)
        return Outcome.UNCHANGED if unmoved and had_outs else Outcome.RAN

    def _outs(self, stage: str) -> dict[str, bool]:
        """Return whether DVC caches each output of a stage, by path."""
        outs = graph_outputs(self.root / "dvc.yaml")
        if stage not in outs:
            raise ConfigError(f"{self.root / 'dvc.yaml'}: no stage '{stage}'; it has {', '.join(outs)}.")
        return outs[stage]

    def _read_files(self, paths: Iterable[str]) -> dict[Path, bytes]:
        """Read the outputs that DVC does not cache: small metrics that it deletes and cannot restore."""
        files = [self.root / path for path in paths]
        return {file: file.read_bytes() for file in files if file.is_file()}

    def _restore_outputs(
        self, stage: str, outs: Mapping[str, bool], uncached: Mapping[Path, bytes], output: CommandOutput
    ) -> None:
        """Restore the outputs that DVC deleted before it ran a stage.

        The half-written outputs of a stage that never succeeded are deleted.
        """
        is_whole = all((self.root / path).exists() for path in outs)
        if not output.ran(stage) and (is_whole or stage not in self.lock_entries()):
            return
        remove_stale_locks(self.root)
        # Silent, and without a look at its result: the next command names missing files.
        self._dvc(["checkout", "--force", stage], CommandOutput(), None, terminal=None)
        for file, data in uncached.items():
            write_bytes(file, data)
