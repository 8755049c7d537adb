"""The header of the page: the task, the verdict of the release gate, and the main numbers."""

from sacpipe.report import numbers
from sacpipe.report.data import Reason, ReportData, ShownVerdict
from sacpipe.report.elements import breakable, digest, prose
from sacpipe.report.markup import Markup, join, tag

_ICONS = {
    "accepted": "M5 12.5 10 17.5 19.5 7",
    "refused": "M6.5 6.5 17.5 17.5M17.5 6.5 6.5 17.5",
    "open": "M6 12H18",
}


def header(data: ReportData) -> Markup:
    """Return the title, the verdict and the headline numbers."""
    suite, identifier = str(data.params["task"]["suite"]), str(data.params["task"]["id"])
    algorithm, seed = data.params["algorithm"]["name"], data.params["seed"]
    return tag(
        "header",
        tag("p", "sacpipe report", tag("span", " · ", class_="muted"), data.model_name, class_="eyebrow"),
        tag("h1", tag("span", f"{suite}/", class_="suite"), breakable(identifier)),
        tag(
            "p",
            ["Algorithm ", tag("b", algorithm), tag("span", " · ", class_="muted")],
            [tag("b", numbers.count(data.training.env_steps)), " environment steps"],
            [tag("span", " · ", class_="muted"), "seed ", tag("b", seed)],
            class_="subtitle",
        ),
        [
            tag("p", tag("b", "Warning. "), prose(warning), class_="warning", role="alert")
            for warning in data.warnings
        ],
        _verdict(data.verdict),
        _figures(data),
    )


def _verdict(verdict: ShownVerdict | None) -> Markup:
    if verdict is None:
        return tag(
            "section",
            _badge(
                "open",
                "Not evaluated",
                "The release gate did not run for this bundle; `sacpipe run` runs it.",
            ),
            id="verdict",
            class_="verdict open",
            aria_label="Verdict of the release gate",
        )
    kind, word = ("accepted", "Accepted") if verdict.accepted else ("refused", "Refused")
    return tag(
        "section",
        _badge(kind, word, _count_rules(verdict)),
        tag("ul", [_rule(reason) for reason in verdict.reasons], class_="rules"),
        id="verdict",
        class_=f"verdict {kind}",
        aria_label="Verdict of the release gate",
    )


def _count_rules(verdict: ShownVerdict) -> str:
    total, broken = len(verdict.reasons), sum(not reason.ok for reason in verdict.reasons)
    if not broken:
        return f"{total} of {total} rules of the release gate hold."
    return f"{broken} of {total} rules of the release gate {'does' if broken == 1 else 'do'} not hold."


def _rule(reason: Reason) -> Markup:
    kind, word = ("accepted", "holds") if reason.ok else ("refused", "broken")
    return tag(
        "li",
        _icon(kind, word),
        tag("b", reason.rule),
        tag("span", tag("i", "expected "), reason.expected),
        tag("span", tag("i", "found "), reason.found),
        class_=kind,
    )


def _badge(kind: str, word: str, sentence: str) -> Markup:
    return tag(
        "div", _icon(kind, None), tag("div", tag("h2", word), tag("p", prose(sentence))), class_="badge"
    )


def _icon(kind: str, label: str | None) -> Markup:
    """Return a tick, a cross or a dash. Screen readers read the label; without one they skip the icon."""
    return tag(
        "svg",
        tag("path", d=_ICONS[kind]),
        viewBox="0 0 24 24",
        class_=f"icon {kind}",
        role="img" if label else None,
        aria_label=label,
        aria_hidden=None if label else "true",
        xmlns="http://www.w3.org/2000/svg",
    )


def _figures(data: ReportData) -> Markup:
    training = data.training
    updates, episodes = numbers.count(training.gradient_steps), numbers.count(training.episodes)
    work = f"{updates} gradient steps, {episodes} episodes"
    return tag(
        "div",
        _return("Deterministic return", "deterministic", data),
        _return("Return of the bundle", "bundle", data),
        _figure("Environment steps", numbers.count(training.env_steps), work, ""),
        _figure(
            "Bundle", digest(data.bundle.digest), "SHA-256 of its manifest; a click selects all of it", ""
        ),
        class_="figures",
    )


def _return(name: str, kind: str, data: ReportData) -> Markup:
    returns = data.evaluation.returns[kind]
    resolution = returns.return_ci_high - returns.return_ci_low
    around = numbers.interval(returns.return_ci_low, returns.return_ci_high)
    note = [
        f"{numbers.interval_name(data.confidence)} ",
        tag("b", around),
        f", {numbers.count(returns.episodes)} episodes",
    ]
    return _figure(name, numbers.number(returns.return_mean, resolution=resolution or None), join(note), kind)


def _figure(name: str, value: Markup | str, note: Markup | str, kind: str) -> Markup:
    return tag(
        "div",
        tag("p", name, class_="name"),
        tag("p", value, class_="value"),
        tag("p", note, class_="note"),
        class_=f"figure {kind}".strip(),
    )
