"""`sacpipe run`: the stages by `dvc repro`, then records, a judged candidate, report and push."""

import argparse
import json

from sacpipe.cli.output import write_output
from sacpipe.core.logging import operator

HELP = "train, export, evaluate and record the task of params.yaml; register a candidate and judge it"
EXAMPLE = "  sacpipe run\n  sacpipe run --engine local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--engine",
        default="prefect",
        metavar="NAME",
        help="caller of the steps: prefect, local, a package's, or module:Class; default: %(default)s",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="continue the finished run up to a raised training.total_steps, also with another "
        "training.stop_at_return or replay.initial_pool; writes training.extends",
    )
    parser.add_argument(
        "--doctor", action="store_true", help="check this machine first, as `sacpipe doctor --brief` does"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the flow and print its summary; exit code 1 where the gate, a bar or the doctor refused."""
    from sacpipe.cli.doctor import check_before_run
    from sacpipe.flow.orchestrator import ORCHESTRATORS
    from sacpipe.project.extend import extend_finished_run
    from sacpipe.project.flow_file import load_flow
    from sacpipe.project.workspace import Workspace

    if arguments.doctor and not check_before_run(operator.info):
        return 1
    workspace = Workspace.enter()
    if ":" not in arguments.engine and arguments.engine not in ORCHESTRATORS:
        ORCHESTRATORS.find(arguments.engine)  # refuses the name, before anything is written
    if arguments.extend:
        operator.info(extend_finished_run(workspace))
    summary = load_flow(workspace).run_pipeline(workspace, engine=arguments.engine)
    write_output(json.dumps(summary.as_tree(), indent=2) + "\n" if arguments.json else summary.text())
    return 1 if summary.is_refused else 0
