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
    from sacpipe.report.verdict_page import Origin
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
    """Judge, print and draw; exit code 1 where the verdict is refused."""
    from sacpipe.cli.release_commands import find_version
    from sacpipe.params.model import Params
    from sacpipe.project.workspace import Workspace, release_lock
    from sacpipe.release.gate import judge_version
    from sacpipe.release.heal import heal
    from sacpipe.release.real_world import open_world
    from sacpipe.tracking.chosen import open_ledger

    workspace = Workspace.enter()
    tracker, model = open_ledger(workspace), Params.load(workspace.params).release.model_name
    with contextlib.suppress(BusyError), release_lock(workspace):  # the other command repairs
        for line in heal(workspace, tracker, open_world(workspace, tracker), model):
            operator.info(line)
    version = find_version(tracker, model, arguments.version)
    params, commit = _sections(workspace, tracker, version)
    verdict = judge_version(workspace, tracker, version, params, commit)
    if arguments.page is not None:
        from sacpipe.report.verdict_page import write_verdict_page

        origin = _origin(workspace, tracker, version, verdict.champion)
        operator.info(f"page {write_verdict_page(verdict, arguments.page, origin)}")
    if arguments.json:
        write_output(json.dumps(verdict.as_tree(), indent=2) + "\n")
    else:
        write_output(f"{version.name} version {version.version} is {verdict.text()}")
    return 0 if verdict.accepted else 1


def _origin(
    workspace: "Workspace", tracker: "Tracker", version: "VersionRecord", champion: str | None
) -> "Origin":
    """Return what registry and git say about a judged version, for its page."""
    from sacpipe.release.log import CHAMPION
    from sacpipe.release.real_world import open_world
    from sacpipe.report.verdict_page import Origin

    actor = ""
    with contextlib.suppress(ConfigError):  # a page needs no identity
        actor = str(open_world(workspace, tracker).git.actor())
    known = [one for one in tracker.registry.versions(version.name) if one.bundle_digest == champion]
    number = max(known, key=lambda one: (CHAMPION in one.aliases, one.version)).version if known else None
    return Origin(number, version.barred, actor)


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
