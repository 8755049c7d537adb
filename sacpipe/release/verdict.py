"""The verdict of the release gate as a value: figure, threshold and reason of every rule."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from sacpipe.core.config import Config

Mode = Literal["enforce", "dry_run", "off"]
"""What a verdict does: `enforce` prevents a promotion, `dry_run` only says what it would do, `off` judges
nothing."""
VERDICT_TAG = "sacpipe.verdict"
"""Tag of a version: its verdict in words."""
_TAG_LENGTH = 5000
"""Longest value of a tag, in characters: the limit of MLflow's registry."""


class Finding(Config):
    """The result of one rule."""

    rule: str
    """Name of the rule."""
    expected: str
    """The threshold in words, e.g. `floor 9,300`."""
    found: str
    """The figure in words, e.g. `mean return 9,359.81 of 20 episodes`."""
    ok: bool
    """Whether the rule holds."""
    figure: float | None
    """The figure that was compared; null where the rule compares none, or where it is not finite."""
    threshold: float | None
    """What it was compared with, in the same unit; null where there is none."""
    unit: str
    """Unit of both: `return` (task units), `share`, or empty where the rule has no figure."""
    advice: str
    """How to get further, as whole sentences; empty where the rule holds."""
    interval: tuple[float, float] | None = None
    """Confidence interval of the figure, where the rule has one."""
    episodes: int | None = None
    """Number of seeds, from the first on, that the figure is of; null where it is not of returns by seed."""

    def text(self) -> str:
        """Return rule, figure and threshold as one line."""
        if self.figure is not None or self.threshold is not None:
            return f"{self.rule}: {self.found}, {self.expected}"
        return f"{self.rule}: {self.found}" + ("" if self.ok else f", expected {self.expected}")


class Scores(Config):
    """Undiscounted returns of the nominal episodes, in task units, by the number of the episode's seed.

    Null is a return that is not finite.
    """

    candidate: tuple[float | None, ...]
    champion: tuple[float | None, ...]
    """Empty where there is no champion, or where no rule compares with it."""


class Verdict(Config):
    """The result of the release gate."""

    format_version: Literal[1]
    accepted: bool
    """Whether every rule holds; in the modes `dry_run` and `off`, true in any case."""
    mode: Mode
    model: str
    """Registered name."""
    version: int
    """Number of the judged version."""
    candidate: str
    """Digest of the judged bundle."""
    champion: str | None
    """Digest of the champion's bundle; null where there was none."""
    commit: str | None
    """The commit whose params were used; null where none holds them."""
    findings: tuple[Finding, ...]
    episodes: Annotated[int, Field(ge=0)]
    """Number of simulated episodes, of both policies, nominal and perturbed."""
    time: str
    """Time of the verdict in UTC, ISO 8601: latencies are of that time and machine."""
    scores: Scores

    @property
    def refused(self) -> tuple[Finding, ...]:
        """Findings of the rules that do not hold; in the mode `dry_run` too."""
        return tuple(finding for finding in self.findings if not finding.ok)

    @property
    def word(self) -> str:
        """`accepted`, `refused`, `would be refused` or `not judged`."""
        if self.mode == "off":
            return "not judged"
        if not self.refused:
            return "accepted"
        return "refused" if self.mode == "enforce" else "would be refused"

    def why(self) -> str:
        """Return one line: of a refusal every rule that does not hold, else the first figure."""
        if self.mode == "off":
            return "release.mode is off"
        if self.refused:
            return "; ".join(finding.text() for finding in self.refused)
        first = [finding.text() for finding in self.findings if finding.threshold is not None][:1]
        number = len(self.findings)
        return "; ".join([*first, f"all {number} rules hold"]) if number else "no rule is set"

    def text(self, working_rules: str = "") -> str:
        """Return the lines for people: the word, every rule, how to get further, when and under which rules.

        Args:
            working_rules: How the rules of params.yaml differ, see `rule_changes`; empty where they do not.
        """
        lines = [f"{self.word}: {self.why()}" if not self.findings else self.word]
        for finding in self.findings:
            lines.append(f"  {'ok' if finding.ok else 'refused':<8} {finding.text()}")
            if not finding.ok and finding.advice:
                lines.append(f"           {finding.advice}")
        if self.findings:
            lines.append(f"  judged   {self.time}, {self.episodes} episodes")
        origin = [f"of commit {self.commit[:12]}"] if self.commit else []
        differ = [f"those in params.yaml differ: {working_rules}"] if working_rules else []
        if origin or differ:
            lines.append(f"  rules    {'; '.join(origin + differ)}")
        return "\n".join(lines) + "\n"


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """Return the tags of a version that was judged, each within the limit of registries."""
    text = f"{verdict.word}: {verdict.why()}"
    return {VERDICT_TAG: text if len(text) <= _TAG_LENGTH else text[: _TAG_LENGTH - 3] + "..."}


def verdict_of(tree: Mapping[str, Any]) -> Verdict:
    """Read a verdict that was kept as JSON.

    Raises:
        ConfigError: it is of another format.
    """
    return Verdict.parse(tree, source="a kept verdict")
