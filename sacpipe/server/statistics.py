"""Triton's statistics extension: what perf_analyzer and dashboards read."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Times(NamedTuple):
    """Nanoseconds of one request."""

    queue: int
    """From its first byte until it was read."""
    compute_input: int
    """Until it was understood."""
    compute_infer: int
    """In the policy, guards included."""
    compute_output: int
    """Until its answer was written down."""


@dataclass(slots=True)
class Statistics:
    """Of one policy, from when it was put into service."""

    last_ms: int = 0
    """Unix time of the last success; 0 where there was none."""
    inferences: int = 0
    """Observations answered."""
    successes: int = 0
    fails: int = 0
    fail_ns: int = 0
    times: Times = field(default_factory=lambda: Times(0, 0, 0, 0))
    """Summed over the successes."""

    def add_success(self, times: Times, batch: int, unix_ms: int) -> None:
        """Count an answer."""
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
        """Count a refusal."""
        self.fails += 1
        self.fail_ns += nanoseconds

    def as_tree(self, name: str, version: str) -> dict[str, Any]:
        """Return the extension's object for one model."""
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
