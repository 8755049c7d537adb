"""The bytes and what depends on what: the only module that runs DVC, as a subprocess.

Floor 2. Promises: a stage that fails or is stopped leaves nothing running and its earlier outputs
back in place; what DVC did is told as *ran*, *restored* or *unchanged*; what the stage said is what
the operator reads, not DVC's frame around it.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError, InterruptedRunError, StoreError
from sacpipe.core.files import write_bytes, write_json, write_text
from sacpipe.project.dvc.messages import Said, dvc_failure, stage_error, stage_failure
from sacpipe.project.dvc.stale_locks import release_dead_locks
from sacpipe.project.process_group import run_group

_SHORT_TIMEOUT_S = 600.0


class Outcome(StrEnum):
    """What `dvc repro` did with a stage."""

    RAN = "ran"
    RESTORED = "restored"
    UNCHANGED = "unchanged"


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of dvc.lock by stage; none where the file is missing.

    Raises:
        StoreError: the file is not a lock file of DVC 2 or 3.
    """
    try:
        tree = YAML(typ="safe").load(path)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, YAMLError) as exc:
        fault = " ".join(str(exc).split())
        raise StoreError(f"{path} cannot be read: {fault}. `git checkout dvc.lock` brings it back.") from exc
    if not isinstance(tree, Mapping) or str(tree.get("schema")) != "2.0":
        raise StoreError(
            f"{path}: expected schema 2.0, found something else. `git checkout dvc.lock` brings it back."
        )
    return dict(tree.get("stages") or {})


@dataclass(frozen=True)
class DvcStore:
    """DVC in one project folder."""

    root: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables added to this process's own."""
    grace_s: float = 30.0
    """How long a stage that is stopped may take to write its checkpoint."""

    def reproduce(
        self,
        stage: str,
        *,
        on_output: Callable[[str], None] | None = None,
        timeout_s: float | None = None,
        afresh: bool = False,
    ) -> Outcome:
        """Bring one stage up to date (`dvc repro -s`), and say how.

        Args:
            stage: Its name in dvc.yaml; stages before it are not looked at.
            on_output: Called with each line DVC and the stage write. Where stderr is a terminal, stderr
                goes there instead, as it comes.
            timeout_s: When to stop it, or None.
            afresh: Run it even where it is up to date or the run-cache has its result.

        Raises:
            StageError: the stage failed; carries its own message, its exit code and whether to try again.
            InterruptedRunError: Ctrl-C; the stage was given time to write its checkpoint.
            ConfigError: params.yaml lacks what the stage needs.
            StoreError: DVC itself failed; says why.
        """
        before = self.lock_entries().get(stage)
        outs = self._outs(stage)
        had_outs = all((self.root / path).exists() for path in outs)
        uncached = self._remember(path for path, cached in outs.items() if not cached)
        said = Said(on_output)
        options = ["--single-item", *(("--force", "--no-run-cache") if afresh else ())]
        release_dead_locks(self.root)
        try:
            status = self._dvc(["repro", *options, stage], said, timeout_s)
        except BaseException as exc:
            self._bring_back(stage, outs, uncached, said)
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
            self._bring_back(stage, outs, uncached, said)
            raise stage_failure(stage, said)
        return self._judge(stage, said, before, had_outs)

    def status(self) -> tuple[str, ...]:
        """Return the stages and tracked files that are not up to date; none where all is.

        Raises:
            StoreError: DVC failed.
        """
        said = self._run(["status", "--json"])
        try:
            return tuple(YAML(typ="safe").load("\n".join(said.stdout)) or ())
        except YAMLError as exc:
            raise StoreError(f"`dvc status --json` in {self.root} gave no JSON: {said.complaint}") from exc

    def push(self) -> str:
        """Send what the cache holds for this graph to the default remote; return DVC's summary.

        Raises:
            StoreError: no remote is set, or it cannot be written.
        """
        return self._last_word(self._run(["push", "--run-cache"], timeout_s=None))

    def pull(self) -> str:
        """Fetch outputs from the default remote and place them; return DVC's summary.

        Raises:
            StoreError: no remote is set, or it lacks something.
        """
        return self._last_word(self._run(["pull"], timeout_s=None))

    def checkout(self, stage: str) -> None:
        """Place a stage's outputs as dvc.lock names them, over whatever lies there.

        Raises:
            StoreError: the cache lacks something; `pull` may bring it.
        """
        self._run(["checkout", "--force", stage], timeout_s=None)

    def place(self, entries: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
        """Place outputs of an older dvc.lock under another folder, from this project's cache.

        Args:
            entries: Entries by stage; only the outputs they still name are placed.
            folder: An empty folder; becomes a DVC project of its own.

        Raises:
            StoreError: the cache lacks something; `dvc fetch --all-commits` may bring it.
        """
        cache = self._run(["cache", "dir"]).stdout[-1]
        config = (
            f"[core]\n no_scm = true\n analytics = false\n check_update = false\n[cache]\n dir = {cache}\n"
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
        """Have DVC track a file or folder of the project: bytes in the cache, the digest in `<path>.dvc`.

        Raises:
            StoreError: DVC failed.
        """
        self._run(["add", str(path.relative_to(self.root))], timeout_s=None)

    def get(self, repository: str, path: str, commit: str, destination: Path) -> None:
        """Copy what a commit tracks, from this project's cache or the commit's default remote.

        Args:
            repository: The git repository's folder, relative to the project's.
            path: Of a tracked file or folder, or of a part of one, relative to the repository's folder.
            commit: The commit.
            destination: Does not exist yet; the folder above it does.

        Raises:
            StoreError: the commit tracks nothing there, or neither cache nor remote holds it.
        """
        said = Said()
        arguments = ["get", repository, path, "--rev", commit, "--out", str(destination)]
        if self._dvc(arguments, said, None) != 0:
            raise StoreError(
                f"DVC cannot give {path} of commit {commit[:12]} ({said.complaint}). `dvc fetch` may help."
            )

    def isolated(self) -> "DvcStore":
        """Cut this folder off from every other project and return its store: no git, a cache of its own.

        A stage that is started as `python -m` takes the folder's modules before installed ones, also where
        the operator's PYTHONSAFEPATH says otherwise.
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

    def _run(self, arguments: list[str], timeout_s: float | None = _SHORT_TIMEOUT_S) -> Said:
        said = Said()
        release_dead_locks(self.root)
        try:
            status = self._dvc(arguments, said, timeout_s)
        except TimeoutError as exc:
            raise StoreError(
                f"`dvc {arguments[0]}` in {self.root} did not end within {timeout_s:g} s. Is a disk hanging?"
            ) from exc
        if status != 0:
            raise dvc_failure(f"`dvc {arguments[0]}`", said)
        return said

    def _dvc(self, arguments: list[str], said: Said, timeout_s: float | None) -> int:
        given = {**os.environ, **self.variables}
        own = str(Path(sys.executable).parent)
        environment = {
            "DVC_NO_ANALYTICS": "1",
            **given,
            "PATH": os.pathsep.join([own, given.get("PATH", os.defpath)]),  # `python` is this one
            "PYTHONUNBUFFERED": "1",
        }
        # -P: a file of the project named like one of DVC's modules must not be imported instead.
        command = [sys.executable, "-P", "-m", "dvc", *arguments]
        return run_group(
            command,
            folder=self.root,
            environment=environment,
            on_line=said,
            timeout_s=timeout_s,
            grace_s=self.grace_s,
        )

    def _judge(self, stage: str, said: Said, before: dict[str, Any] | None, had_outs: bool) -> Outcome:
        """Tell what happened from dvc.lock and the outputs; DVC's words only part *ran* from *restored*.

        The lock alone cannot: a stage that runs again with the same result leaves it as it was, and one
        taken from the run-cache moves it.
        """
        if said.ran(stage):
            return Outcome.RAN
        if said.restored(stage):
            return Outcome.RESTORED
        unmoved = before is not None and before == self.lock_entries().get(stage)
        return Outcome.UNCHANGED if unmoved and had_outs else Outcome.RAN

    def _outs(self, stage: str) -> dict[str, bool]:
        """Return whether DVC caches each output of a stage, by path."""
        entry = (read_yaml(self.root / "dvc.yaml").get("stages") or {}).get(stage)
        if entry is None:
            raise ConfigError(f"{self.root / 'dvc.yaml'}: no stage '{stage}'.")
        outs = {}
        for item in [item for kind in ("outs", "metrics", "plots") for item in entry.get(kind) or ()]:
            options = {item: {}} if isinstance(item, str) else item
            outs.update({path: (option or {}).get("cache", True) for path, option in options.items()})
        return outs

    def _remember(self, paths: Iterable[str]) -> dict[Path, bytes]:
        """Read the outputs DVC does not cache: small metrics it deletes and cannot bring back."""
        files = [self.root / path for path in paths]
        return {file: file.read_bytes() for file in files if file.is_file()}

    def _bring_back(
        self, stage: str, outs: Mapping[str, bool], uncached: Mapping[Path, bytes], said: Said
    ) -> None:
        """Undo what DVC deletes before it runs a stage; a stage that never succeeded loses its half files."""
        is_whole = all((self.root / path).exists() for path in outs)
        if not said.ran(stage) and (is_whole or stage not in self.lock_entries()):
            return
        release_dead_locks(self.root)
        self._dvc(["checkout", "--force", stage], Said(), None)  # what it cannot bring back, it names later
        for file, data in uncached.items():
            write_bytes(file, data)

    def _last_word(self, said: Said) -> str:
        return said.stdout[-1] if said.stdout else "done"
