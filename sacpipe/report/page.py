"""The HTML page of the report: every section, in one file that loads no other file.

The page has no script, no request, no time and no host name, so that the same outputs give the same bytes.
"""

from importlib import resources
from pathlib import Path

from sacpipe.core.files import write_text
from sacpipe.report.data import ReportData, ReportInputs
from sacpipe.report.elements import prose
from sacpipe.report.evaluation import evaluation, video
from sacpipe.report.export import export
from sacpipe.report.header import header
from sacpipe.report.learning import learning, signals, throughput
from sacpipe.report.lineage import lineage
from sacpipe.report.markup import Markup, join, tag
from sacpipe.report.outputs import read_report
from sacpipe.report.params import params
from sacpipe.report.plane import plane

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
_CONTENTS = (
    ("learning", "Learning"),
    ("evaluation", "Evaluation"),
    ("plane", "Paths"),
    ("video", "Video"),
    ("signals", "Signals"),
    ("throughput", "Throughput"),
    ("export", "Export"),
    ("lineage", "Lineage"),
    ("params", "Params"),
)


def write_report(inputs: ReportInputs, path: Path) -> Path:
    """Write the report of one set of outputs, atomically, and return its path.

    Raises:
        StorageError: an output is missing or malformed, or the page cannot be written.
        ConfigError: params.yaml or the verdict is wrong.
        PoolError: the pool's manifest is wrong.
        BundleError: the bundle differs from its manifest.
    """
    write_text(path, render(read_report(inputs)))
    return path


def render(data: ReportData) -> str:
    """Return the page as HTML. It depends on the data alone."""
    style = resources.files("sacpipe.report").joinpath("style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{data.task}: sacpipe report"),
        tag("style", Markup(style)),
    )
    sections = [learning(data), evaluation(data), plane(data), video(data), signals(data), throughput(data)]
    sections += [export(data), lineage(data), params(data)]
    body = tag("body", header(data), _contents(data), tag("main", sections), _footer())
    return join([Markup("<!DOCTYPE html>\n"), tag("html", head, body, lang="en"), Markup("\n")])


def _contents(data: ReportData) -> Markup:
    shown = [(anchor, name) for anchor, name in _CONTENTS if anchor != "plane" or data.plane is not None]
    links = [tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name in shown]
    return tag("nav", tag("ul", links), aria_label="Sections")


def _footer() -> Markup:
    origin = (
        "Made by `sacpipe report` from params.yaml, dvc.lock and the files under out/ alone. "
        "In a clone, `dvc pull` and then `sacpipe report` make it again."
    )
    omitted = (
        "The page has no version, host or time, so that the same outputs give the same bytes. "
        "The ledger has the versions of the run; `sacpipe doctor` prints those of this machine."
    )
    return tag("footer", tag("p", prose(origin)), tag("p", prose(omitted)))
