"""`sacpipe gate`: judge a registered version by the release gate, without promoting it."""

import argparse
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sacpipe.cli.output import write_output
from sacpipe.core.errors import BusyError, ConfigError, ReleaseError
from sacpipe.core.logging import operator

if TYPE_CHECKING:
    from sacpipe.project.workspace import Workspace
    from sacpipe.release.config import ReleaseParams
    from sacpipe.release.world import World
    from sacpipe.tracking.registry import VersionRecord
    from sacpipe.tracking.tracker import Tracker

HELP = "judge a registered version by the release gate, and print figure and threshold of every rule"
EXAMPLE = "  sacpipe gate\n  sacpipe gate 3 --page verdict.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "version", nargs="?", default="candidate", help="number or alias of the version; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON object")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write a page with plots as well")


def run(arguments: argparse.Namespace) -> int:
    """Judge, print and draw; exit code 1 where the version is refused or barred, or the alias was moved."""
    from sacpipe.cli.release_commands import find_version
    from sacpipe.project.workspace import Workspace
    from sacpipe.release.bars import bar_of
    from sacpipe.release.config import ReleaseParams, read_model_name
    from sacpipe.release.gate import judge_version
    from sacpipe.release.real_world import open_world
    from sacpipe.release.releases import Releases
    from sacpipe.release.rule_changes import rule_changes
    from sacpipe.tracking.chosen import open_ledger

    workspace = Workspace.enter()
    tracker, model = open_ledger(workspace), read_model_name(workspace.params)
    world = open_world(workspace, tracker)
    _repair_and_check(workspace, tracker, world, model)
    version = find_version(tracker, model, arguments.version)
    params, commit = _sections(workspace, tracker, version)
    verdict = judge_version(workspace, tracker, version, params, commit)
    bar = bar_of(Releases(world, model).history(), version)
    if arguments.page is not None:
        from sacpipe.report.verdict_page import Origin, write_verdict_page

        origin = Origin(_number(tracker, version.name, verdict.champion), bar, _actor(world))
        operator.info(f"page {write_verdict_page(verdict, arguments.page, origin)}")
    if arguments.json:
        write_output(json.dumps(verdict.as_tree(), indent=2) + "\n")
    else:
        working = ReleaseParams.load_sections(workspace.params).release
        text = verdict.text(rule_changes(params.release, working))
        write_output(f"{version.name} version {version.version} is {text}")
        if verdict.refused and arguments.page is None:
            write_output(f"  page     sacpipe gate {version.version} --page verdict.html\n")
    if bar:
        (operator.info if arguments.json else _write_line)(f"  barred   {bar}")
    return 0 if verdict.accepted and not bar else 1


def _write_line(line: str) -> None:
    write_output(f"{line}\n")


def _repair_and_check(workspace: "Workspace", tracker: "Tracker", world: "World", model: str) -> None:
    """Repair damage, and check that history and registry name one champion: the candidate meets that one.

    Raises:
        ReleaseError: they disagree, as where the alias was moved by hand.
        StoreError: the registry failed.
    """
    from sacpipe.project.git import repository_fault
    from sacpipe.project.workspace import release_lock
    from sacpipe.release.heal import heal
    from sacpipe.release.releases import Releases

    with contextlib.suppress(BusyError), release_lock(workspace):  # the other command repairs and checks
        for line in heal(workspace, tracker, world, model):
            operator.info(line)
        if repository_fault(workspace.root) is None:
            Releases(world, model).check()


def _number(tracker: "Tracker", model: str, champion: str | None) -> int | None:
    """Return the number of the champion that a verdict compares with; None where it is not known."""
    from sacpipe.release.log import CHAMPION

    known = [one for one in tracker.registry.versions(model) if one.bundle_digest == champion]
    return max(known, key=lambda one: (CHAMPION in one.aliases, one.version)).version if known else None


def _actor(world: "World") -> str:
    """Return who runs the command, by the identity of git; a page needs none."""
    with contextlib.suppress(ConfigError):
        return str(world.git.actor())
    return ""


def _sections(
    workspace: "Workspace", tracker: "Tracker", version: "VersionRecord"
) -> tuple["ReleaseParams", str | None]:
    """Return the sections to judge a version under, and their commit.

    They are those of the commit that holds the version. The present bundle needs no commit yet: its sections
    are those of params.yaml as it is.
    """
    from sacpipe.bundle.files import bundle_digest
    from sacpipe.release.candidate import find_commit
    from sacpipe.release.config import ReleaseParams
    from sacpipe.release.promotion import entries_of

    try:
        held = find_commit(workspace, entries_of(workspace, tracker, version))
    except (ReleaseError, ConfigError):
        folder = workspace.bundle
        if not folder.is_dir() or bundle_digest(folder, follow_cache_links=True) != version.bundle_digest:
            raise
        operator.info("no commit holds this version yet: it is judged under params.yaml as it is")
        return ReleaseParams.load_sections(workspace.params), None
    return held.release_params, held.commit
