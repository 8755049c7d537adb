"""`sacpipe verify`: run the committed graph from the start and compare it with the committed dvc.lock."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sacpipe.cli.output import write_output
from sacpipe.core.logging import operator
from sacpipe.project.terminal import StageOutput, write_line
from sacpipe.project.workspace import STAGES, Workspace

if TYPE_CHECKING:
    from sacpipe.project.verification_run import VerificationRun
    from sacpipe.project.verify import Comparison, ReturnsComparison

HELP = "run the committed graph in a temporary folder, and compare every output with dvc.lock"
EXAMPLE = "  sacpipe verify\n  sacpipe verify --json --keep"

_DIGEST_SHOWN = 12
_NAMES_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--json", action="store_true", help="print a JSON list of outputs")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder, and print its path")


def run(arguments: argparse.Namespace) -> int:
    """Run the graph and print the comparison; exit code 1 where an output differs."""
    from sacpipe.project.dvc.lock_file import read_lock
    from sacpipe.project.verification_run import verification_run
    from sacpipe.project.verify import allowed_marks, compare_locks, is_same, verify_returns

    project = Workspace.enter()
    keep = (lambda folder: write_line(f"kept: {folder}")) if arguments.keep else None
    with verification_run(project, keep) as verification:
        _print_differences(verification)
        for stage in STAGES:
            write_line(f"{stage}: {verification.run(stage, StageOutput())}")
        allowed = allowed_marks(verification)
        outputs = compare_locks(verification.expected, read_lock(verification.fresh.dvc_lock), allowed)
        _print_outputs(verification.commit, outputs, as_json=arguments.json)
        returns = verify_returns(verification) if allowed else None
        if returns is not None:
            _print_returns(returns, to_stderr=arguments.json)
    return 0 if is_same(outputs, returns) else 1


def _print_differences(verification: "VerificationRun") -> None:
    """Print uncommitted edits, inputs that are not those of the commit's dvc.lock, and another processor."""
    from sacpipe.project.moving_outputs import moving_outputs
    from sacpipe.project.processor_kind import another_processor, other_kinds

    edited = verification.edited()
    if edited:
        write_line(f"not in commit {verification.commit[:12]}, so not verified: {_some(edited)}")
    other = verification.other_inputs()
    if other:
        listed = "; ".join(f"{stage}: {_some(names)}" for stage, names in other.items())
        write_line(f"dvc.lock in commit {verification.commit[:12]} was made from other inputs ({listed})")
    if elsewhere := other_kinds(verification.kinds, STAGES):
        moving = moving_outputs(verification.expected, elsewhere)
        names = ", ".join(path for paths in moving.values() for path in paths)
        allowed = f"other bytes are allowed of {names or 'no output'}"
        write_line(f"{another_processor(elsewhere)}: {allowed}, and returns are compared by an interval")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _print_outputs(commit: str, outputs: "Sequence[Comparison]", *, as_json: bool) -> None:
    if as_json:
        write_output(json.dumps([output.as_tree() for output in outputs], indent=2) + "\n")
        return
    rows = [("stage", "output", "expected", "got", "")]
    rows += [(one.stage, one.output, _short(one.expected), _short(one.got), one.mark) for one in outputs]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        write_output("  ".join(cells).rstrip() + "\n")
    equal = sum(output.mark == "ok" for output in outputs)
    write_output(f"{equal} of {len(outputs)} outputs of commit {commit[:12]} are the same bytes\n")


def _short(digest: str | None) -> str:
    return "-" if digest is None else digest[:_DIGEST_SHOWN]


def _print_returns(returns: "ReturnsComparison", *, to_stderr: bool) -> None:
    interval = (
        f"{100 * returns.confidence:g} % interval of the difference [{returns.low:.6g}, {returns.high:.6g}]"
    )
    verdict = "holds 0: the same result" if returns.holds else "does not hold 0: another result"
    (operator.info if to_stderr else write_output)(
        f"deterministic return: committed {returns.committed_mean:.6g}, fresh {returns.fresh_mean:.6g}; "
        f"{interval} {verdict}\n"
    )
