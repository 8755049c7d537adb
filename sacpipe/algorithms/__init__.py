"""The table of algorithms, one file each. A new one is a line in `ALGORITHMS`.

An algorithm is imported when params name it, so that a run loads, and depends on, its own only. An installed
package adds one by an entry point of the group `sacpipe.algorithms`; params.yaml may also name one by import
path.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from sacpipe.core.members import Members, member_field

if TYPE_CHECKING:
    from sacpipe.algorithms.base import AlgorithmSection
    from sacpipe.specs.metric import Metric

ALGORITHMS = Members(
    "algorithm",
    "sacpipe.algorithms",
    {
        "sac": "sacpipe.algorithms.sac:SACConfig",
        "td3": "sacpipe.algorithms.td3:TD3Config",
        "sql": "sacpipe.algorithms.sql:SQLConfig",
        "lsp": "sacpipe.algorithms.lsp:LSPConfig",
        "composition": "sacpipe.algorithms.composition:CompositionConfig",
        "tqc": "sacpipe.algorithms.tqc:TQCConfig",
    },
)

if TYPE_CHECKING:
    AlgorithmConfig: TypeAlias = AlgorithmSection
else:
    AlgorithmConfig = member_field(ALGORITHMS)
    """Type of the `algorithm` section of params.yaml."""


def metrics_of(name: str) -> "Mapping[str, Metric]":
    """Return the metrics that a registered algorithm's section declares; none for any other name."""
    return getattr(ALGORITHMS.find(name), "metrics", {}) if name in ALGORITHMS else {}
