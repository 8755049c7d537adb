"""By how much a rule of the release gate does not hold, in words."""

from sacpipe.release.rules.rule import in_words
from sacpipe.release.verdict import Finding


def shortfall(finding: Finding) -> str:
    """Return by how much a rule that does not hold misses its threshold, in the words of its unit.

    A figure that reaches its threshold while its interval does not is too uncertain: the distance is that of
    the interval's low end. Where there is no distance, as of a broken lineage, it is what the rule found.
    """
    figure, threshold = finding.figure, finding.threshold
    if figure is None or threshold is None:
        return finding.found
    if figure < threshold:
        return f"short by {in_words(threshold - figure, finding.unit)}"
    if finding.interval is not None:
        gap = in_words(threshold - finding.interval[0], finding.unit)
        return f"too uncertain: its interval begins {gap} below the bound"
    return f"over by {in_words(figure - threshold, finding.unit)}"
