"""`sacpipe lineage`: check every edge from a registered policy to its code, params and pools."""

import argparse
import json

from sacpipe.cli.output import write_output

HELP = "check every edge from a policy to its bundle, version, runs, params, commit and pools"
EXAMPLE = "  sacpipe lineage\n  sacpipe lineage InvertedDoublePendulum-v5@champion --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "model", nargs="?", help="NAME, NAME@ALIAS or NAME/VERSION; default: release.model_name@champion"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list of edges")


def run(arguments: argparse.Namespace) -> int:
    """Print every edge; exit code 1 where one does not hold."""
    from sacpipe.project.workspace import Workspace
    from sacpipe.release.config import read_model_name
    from sacpipe.release.history import read_history
    from sacpipe.release.real_world import ProjectDisk
    from sacpipe.tracking.chosen import open_ledger
    from sacpipe.tracking.lineage import lineage, parse_wanted

    workspace = Workspace.enter()
    wanted = arguments.model or read_model_name(workspace.params)
    name, _, _ = parse_wanted(wanted)
    champion = read_history(ProjectDisk(workspace.root), name).champion
    champions = {} if champion is None else {name: champion.bundle}
    edges = lineage(workspace, open_ledger(workspace), wanted, champions)
    if arguments.json:
        write_output(json.dumps([edge.as_tree() for edge in edges], indent=2) + "\n")
    else:
        for edge in edges:
            mark = "ok  " if edge.ok else "FAIL"
            write_output(f"{mark}  {edge.name:<28} {edge.found}\n")
            if not edge.ok:
                write_output(f"      {'':<28} expected {edge.expected}\n")
    return 0 if all(edge.ok for edge in edges) else 1
