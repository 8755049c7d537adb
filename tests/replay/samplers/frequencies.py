"""Whether drawn numbers have the probabilities that they are claimed to have."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

_QUANTILE = 3.0902
"""Of the standard normal distribution, at 99.9 %."""


def assert_frequencies(drawn: Iterable[Hashable], probabilities: Mapping[Hashable, float]) -> None:
    """Compare by Pearson's chi-square statistic, at 99.9 %, which five expected draws of each allow."""
    counts = Counter(drawn)
    total = counts.total()
    assert abs(sum(probabilities.values()) - 1.0) < 1e-9
    assert counts.keys() <= {key for key, share in probabilities.items() if share > 0}
    expected = {key: share * total for key, share in probabilities.items() if share > 0}
    assert min(expected.values()) >= 5, "draw more"
    statistic = sum((counts[key] - mean) ** 2 / mean for key, mean in expected.items())
    assert statistic < limit(max(1, len(expected) - 1)), (statistic, counts, expected)


def limit(freedom: int) -> float:
    """Return what the statistic exceeds once in a thousand times (Wilson & Hilferty 1931, PNAS 17:684-688)."""
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + _QUANTILE * spread**0.5) ** 3)
