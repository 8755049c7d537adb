"""The page of one verdict: every rule, and its plots. It has no script and no request."""

from pathlib import Path

from sacpipe.core.files import write_text
from sacpipe.release.verdict import Verdict
from sacpipe.report.rendering import page_environment
from sacpipe.report.verdict_charts import verdict_plots


def write_verdict_page(verdict: Verdict, path: Path) -> Path:
    """Write the page, atomically, and return its path. The same verdict gives the same bytes.

    Raises:
        StorageError: the page cannot be written.
    """
    template = page_environment().get_template("verdict_page.html")
    write_text(path, template.render(verdict=verdict, plots=verdict_plots(verdict)))
    return path
