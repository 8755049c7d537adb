"""`sacpipe gc`: list what no version, history, commit or recording needs, and remove it."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from sacpipe.cli.output import write_output
from sacpipe.core.errors import ConfigError

if TYPE_CHECKING:
    from sacpipe.project.workspace import Workspace
    from sacpipe.release.gc import Garbage
    from sacpipe.tracking.tracker import Tracker

HELP = "list what no version, history, commit or recording needs; --force removes it"
EXAMPLE = "  sacpipe gc\n  sacpipe gc --force --keep 20"

_SHOWN = 20
"""Maximum number of lines of one kind."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--force", action="store_true", help="remove it; without this, nothing is changed")
    parser.add_argument(
        "--keep", type=int, default=10, metavar="N", help="newest candidates to keep; default: 10"
    )


def run(arguments: argparse.Namespace) -> int:
    """List or remove; exit code 1 where DVC's cache may not be touched.

    A list takes no lock. While files are removed no run may begin; a rollback waits for versions and bundles
    alone, as it needs nothing that DVC's cache is searched for.
    """
    from sacpipe.project.workspace import Workspace, run_lock
    from sacpipe.release.config import read_model_name
    from sacpipe.release.gc import open_collector
    from sacpipe.tracking.chosen import open_ledger

    if arguments.keep < 1:
        raise ConfigError(f"--keep: expected 1 or more, found {arguments.keep}.")
    workspace = Workspace.enter()
    model = read_model_name(workspace.params)
    with run_lock(workspace) if arguments.force else nullcontext():
        tracker = open_ledger(workspace)
        with _excluding_releases(workspace, tracker, model) if arguments.force else nullcontext():
            collector = open_collector(workspace, tracker, model, arguments.keep)
            gone = collector.versions()
            files = collector.local_files(gone)
            _write(collector.describe(gone))
            _write(files)
            if arguments.force:
                collector.remove(gone, files)
        refusal, cached = "", []
        try:
            cached = collector.cache(gone, remove=arguments.force)
        except ConfigError as exc:
            refusal = f"{exc}\n"
        _write(cached)
    total = sum(item.size_bytes for item in [*files, *cached])
    verb = "removed" if arguments.force else "to remove with `sacpipe gc --force`"
    count = len(gone) + len(files) + len(cached)
    write_output(f"{count} thing{'s' * (count != 1)}, {total / 1e6:.1f} MB {verb}\n{refusal}")
    return 1 if refusal else 0


@contextmanager
def _excluding_releases(workspace: "Workspace", tracker: "Tracker", model: str) -> Iterator[None]:
    from sacpipe.project.workspace import release_lock

    with release_lock(workspace), tracker.registry.exclusive(model):
        yield


def _write(found: Sequence["Garbage"]) -> None:
    """Write a line for each thing; of many of one kind the largest ones."""
    largest = sorted(found, key=lambda item: -item.size_bytes)
    for item in largest[:_SHOWN] if len(found) > _SHOWN else found:
        write_output(f"{item.kind:<8} {item.size_bytes / 1e6:>8.1f} MB  {item.name}: {item.why}\n")
    if rest := largest[_SHOWN:]:
        size = sum(item.size_bytes for item in rest)
        write_output(f"{rest[0].kind:<8} {size / 1e6:>8.1f} MB  {len(rest)} more\n")
