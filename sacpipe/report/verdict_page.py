"""The page of one verdict: what failed and by how much, what to do next, every rule, and the plots.

It has no script and sends no request.
"""

from pathlib import Path
from typing import NamedTuple

from sacpipe.core.files import write_text
from sacpipe.release.verdict import Verdict
from sacpipe.report.rendering import page_environment
from sacpipe.report.shortfall import shortfall
from sacpipe.report.verdict_charts import verdict_plots


class Origin(NamedTuple):
    """What registry and git say beside a verdict, when its page is written."""

    champion_version: int | None = None
    """Number of the champion that the verdict compares with; None where it is not known."""
    barred: str = ""
    """When, by whom and why the judged version was rolled back; empty where it may be promoted."""
    actor: str = ""
    """Who ran the command, by the identity of git; empty where git has none."""


class NextStep(NamedTuple):
    """What an operator does next."""

    text: str
    """Whole sentences; what is between backticks is code."""
    command: str = ""
    """The command to run, or empty."""


def write_verdict_page(verdict: Verdict, path: Path, origin: Origin | None = None) -> Path:
    """Write the page, atomically, and return its path. The same arguments give the same bytes.

    Args:
        verdict: What was judged.
        path: File to write.
        origin: What the verdict itself does not have; None leaves it out.

    Raises:
        StorageError: the page cannot be written.
    """
    known = origin or Origin()
    values = {
        "verdict": verdict,
        "origin": known,
        "missed": [(one.rule, shortfall(one)) for one in verdict.refused],
        "step": next_step(verdict, known),
        "plots": verdict_plots(verdict),
    }
    write_text(path, page_environment().get_template("verdict_page.html").render(values))
    return path


def next_step(verdict: Verdict, origin: Origin) -> NextStep:
    """Return what follows from a verdict."""
    if verdict.champion == verdict.candidate:
        return _of_champion(verdict)
    if verdict.refused:
        return _of_refused(verdict, origin)
    if verdict.mode == "dry_run":
        text = "`release.mode` is dry_run, and nothing is promoted. Set it to `enforce` and commit it; then:"
        return NextStep(text, "sacpipe run")
    again = " --again" if origin.barred else ""
    command = f'sacpipe promote {verdict.version}{again} --reason "why"'
    if origin.barred:
        return NextStep("It was rolled back and is barred. This command promotes it anyway:", command)
    if verdict.commit is None:
        return NextStep(
            "No commit holds it yet. This command prints the git commands that make one:", command
        )
    return NextStep("This command makes it the champion, which robots follow:", command)


def _of_champion(verdict: Verdict) -> NextStep:
    if not verdict.refused:
        return NextStep("Its bundle is the champion's: there is nothing to promote.")
    text = "Its bundle is the champion's, and robots run it. This command takes it back:"
    return NextStep(text, 'sacpipe rollback --reason "why"')


def _of_refused(verdict: Verdict, origin: Origin) -> NextStep:
    if verdict.champion is None:
        stays = "There is no champion"
    else:
        number = "" if origin.champion_version is None else f", version {origin.champion_version}"
        stays = f"Robots keep the champion{number}"
    promotes = "`sacpipe promote` refuses it too" if verdict.mode == "enforce" else "nothing is promoted"
    only = verdict.refused[0].advice if len(verdict.refused) == 1 else ""
    advice = only or "Do what the broken rules below say."
    return NextStep(f"{stays}, and {promotes}. {advice} Then train the next candidate:", "sacpipe run")
