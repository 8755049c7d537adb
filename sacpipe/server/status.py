"""The answer of `/status.json`: the values that the page shows."""

import time

from msgspec import Struct

from sacpipe.robot.decision import Verdict
from sacpipe.rollout.follower_status import FollowerStatus
from sacpipe.server.inputs import Count
from sacpipe.server.metrics import LATENCY_BOUNDS_US
from sacpipe.server.service import RequestEvent, Service


class ActionTerm(Struct):
    """Name and unit of a term of the action."""

    name: str
    unit: str


class Latency(Struct):
    """Number of answers by duration; the last count is of those above every bound."""

    bounds_us: tuple[int, ...]
    counts: list[Count]


class Status(Struct):
    """Status of the server."""

    name: str
    task: str
    bundle_sha256: str
    version: str
    since_s: float
    now_s: float
    is_draining: bool
    actions: list[ActionTerm]
    verdicts: dict[Verdict, Count]
    causes: dict[str, Count]
    refused: Count
    swaps: Count
    sequences: Count
    latency: Latency
    events: list[RequestEvent]
    """The last requests, newest first."""
    follower: FollowerStatus | None


def server_status(service: Service, follower: FollowerStatus | None) -> Status:
    """Return the status of the server.

    Args:
        service: Runs the active policy and counts the requests.
        follower: Status of the follower; None where the server follows no source.
    """
    active, metrics = service.active, service.metrics
    spec = active.policy.contract.spec
    return Status(
        name=service.name,
        task=spec.task,
        bundle_sha256=active.policy.digest,
        version=active.version,
        since_s=active.since_s,
        now_s=time.time(),
        is_draining=service.is_draining,
        actions=[ActionTerm(term.name, term.unit) for term in spec.action],
        verdicts=metrics.verdicts,
        causes={cause: count for cause, count in dict(metrics.causes).items() if count},
        refused=sum(metrics.refusals.values()),
        swaps=metrics.swaps,
        sequences=len(service.sequences),
        latency=Latency(LATENCY_BOUNDS_US, metrics.infer.counts),
        events=list(reversed(service.events)),
        follower=follower,
    )
