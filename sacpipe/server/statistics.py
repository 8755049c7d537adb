"""Triton's statistics extension, which perf_analyzer and dashboards read."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Times(NamedTuple):
    """Times of one request, in nanoseconds."""

    queue: int
    """From the first byte until the whole body was read."""
    compute_input: int
    """Until the request was parsed."""
    compute_infer: int
    """In the policy, guards included."""
    compute_output: int
    """Until the answer was rendered."""


@dataclass(slots=True)
class Statistics:
    """Statistics of one policy since its activation."""

    last_ms: int = 0
    """Time of the last success, in Unix milliseconds; 0 where there was none."""
    inferences: int = 0
    """Number of answered observations."""
    successes: int = 0
    fails: int = 0
    fail_ns: int = 0
    times: Times = field(default_factory=lambda: Times(0, 0, 0, 0))
    """Times summed over the successes."""

    def add_success(self, times: Times, batch: int, unix_ms: int) -> None:
        """Count an answered request."""
        self.successes += 1
        self.inferences += batch
        self.last_ms = unix_ms
        sums = self.times
        self.times = Times(
            sums.queue + times.queue,
            sums.compute_input + times.compute_input,
            sums.compute_infer + times.compute_infer,
            sums.compute_output + times.compute_output,
        )

    def add_fail(self, nanoseconds: int) -> None:
        """Count a refused request."""
        self.fails += 1
        self.fail_ns += nanoseconds

    def as_tree(self, name: str, version: str) -> dict[str, Any]:
        """Return the object of the extension for one model."""
        parts = {key: {"count": self.successes, "ns": ns} for key, ns in self.times._asdict().items()}
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_ms,
            "inference_count": self.inferences,
            "execution_count": self.successes,
            "inference_stats": {
                "success": {"count": self.successes, "ns": sum(self.times)},
                "fail": {"count": self.fails, "ns": self.fail_ns},
                **parts,
            },
        }
