"""`sacpipe promote`: judge a registered version, and make it the champion that robots follow."""

import argparse
import json

from sacpipe.cli.output import write_output
from sacpipe.core.logging import operator

HELP = "judge a registered version by the release gate, and make it the champion"
EXAMPLE = '  sacpipe promote --reason "better on slopes"\n  sacpipe promote 3 --reason "replaces 2"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "version", nargs="?", default="candidate", help="number or alias of the version; default: %(default)s"
    )
    parser.add_argument("--reason", required=True, help="why, for the history")
    parser.add_argument("--again", action="store_true", help="promote a version that was rolled back")
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Settle, judge and promote; exit code 1 where the version is not champion afterwards."""
    from sacpipe.cli.release_commands import open_releases
    from sacpipe.project.workspace import Workspace, release_lock
    from sacpipe.release.bars import require_allowed
    from sacpipe.release.log import release_of
    from sacpipe.release.promotion import judge_candidate, promote_candidate

    workspace = Workspace.enter()
    with release_lock(workspace):
        opened = open_releases(workspace, arguments.reason)
        version = opened.version(arguments.version)
        history, release = opened.releases.history(), release_of(version)
        require_allowed(history, version, again=arguments.again)  # before minutes of episodes
        if history.champion is not None and history.champion.bundle == release.bundle:
            operator.info(f"{release} is champion already")
            if arguments.json:
                write_output("{}\n")
            return 0
        candidate = judge_candidate(workspace, opened.tracker, version)
        if arguments.json:
            write_output(json.dumps(candidate.verdict.as_tree(), indent=2) + "\n")
        else:
            text = candidate.verdict.text(candidate.working_rules)
            write_output(f"gate       version {version.version} is {text}")
        lines = promote_candidate(
            workspace, opened.tracker, candidate, reason=arguments.reason, again=arguments.again
        )
        for line in lines:
            operator.info(line)
    return 0 if candidate.moves else 1
