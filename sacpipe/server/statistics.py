"""Triton's statistics extension, which perf_analyzer and dashboards read."""

from typing import NamedTuple, Self

from msgspec import Struct

from sacpipe.server.inputs import Count


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


class Duration(Struct):
    """Number of requests, and the sum of their durations in nanoseconds."""

    count: Count
    ns: Count

    def add(self, nanoseconds: int) -> None:
        """Count one request."""
        self.count += 1
        self.ns += nanoseconds


class Durations(Struct):
    """Durations by outcome, and of the successes by part."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(Struct):
    """Statistics of one policy since its activation, in the words of the extension."""

    name: str
    version: str
    last_inference: Count
    """Time of the last success, in Unix milliseconds; 0 where there was none."""
    inference_count: Count
    """Number of answered observations."""
    execution_count: Count
    """Number of answered requests."""
    inference_stats: Durations

    @classmethod
    def at_start(cls, name: str, version: str) -> Self:
        """Return the statistics of a policy that answered nothing yet."""
        return cls(name, version, 0, 0, 0, Durations(*(Duration(0, 0) for _ in range(6))))

    def add_success(self, times: Times, batch: int, unix_ms: int) -> None:
        """Count an answered request."""
        self.last_inference = unix_ms
        self.inference_count += batch
        self.execution_count += 1
        durations = self.inference_stats
        durations.success.add(sum(times))
        durations.queue.add(times.queue)
        durations.compute_input.add(times.compute_input)
        durations.compute_infer.add(times.compute_infer)
        durations.compute_output.add(times.compute_output)

    def add_fail(self, nanoseconds: int) -> None:
        """Count a refused request."""
        self.inference_stats.fail.add(nanoseconds)
