"""Hostile clients against a real server: a client with the token and the health check do not notice them."""

import contextlib
import time
from collections import Counter

import pytest
from attacked_server import MAX_GROWTH_BYTES, GoodClients, attacking, serving
from hostile_clients import ATTACKS, TURNED_AWAY

pytestmark = pytest.mark.attack

_FALL_BACK_S = 15.0
"""Longer than the server waits for any request."""
_MAX_SPARE_SOCKETS = 3


@pytest.fixture(scope="module")
def start(bundles, token_file, tmp_path_factory):
    """Return a function that gives the running server: a new one where an attack damaged the last."""
    with contextlib.ExitStack() as stack:
        running = []

        def find():
            if not running or running[-1].process.poll() is not None or running[-1].memory_bytes() > 2**29:
                stack.close()
                log = tmp_path_factory.mktemp("log") / "stderr"
                arguments = (bundles[0], "--port", "0", "--token-file", token_file)
                running.append(stack.enter_context(serving(*arguments, log=log)))
                with GoodClients(running[-1]):
                    time.sleep(1.0)  # a warm-up: memory and sockets are then those of a busy server
            return running[-1]

        yield find


def _wait_for_sockets(server, expected):
    end_s = time.monotonic() + _FALL_BACK_S
    while (found := server.num_sockets()) > expected and time.monotonic() < end_s:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("kind", ATTACKS)
def test_nothing_is_noticed_of(kind, start, attack_s, num_peers):
    server, attack = start(), ATTACKS[kind]
    memory_before, sockets_before, log_before = server.memory_bytes(), server.num_sockets(), server.log()
    with GoodClients(server) as good, attacking(kind, server, attack_s, num_peers) as counters:
        time.sleep(attack_s)
    statuses = Counter()
    for counter in counters:
        assert counter["rounds"] > 0
        statuses.update({int(status): count for status, count in counter["statuses"].items()})

    assert server.process.poll() is None, "the server ended"
    assert dict(Counter(good.faults)) == {}
    assert len(good.latencies_s) > 20 * attack_s
    assert good.num_health_checks > 0
    growth_bytes = max(good.peak_bytes, server.memory_bytes()) - memory_before
    assert growth_bytes < MAX_GROWTH_BYTES, f"memory grew by {growth_bytes / 2**20:.0f} MiB"
    assert set(statuses) <= attack.answers | TURNED_AWAY
    if attack.must_answer:
        assert attack.answers & set(statuses), f"expected one of {sorted(attack.answers)}, found {statuses}"
    assert "Traceback" not in server.log()[len(log_before) :]
    assert (
        _wait_for_sockets(server, sockets_before + _MAX_SPARE_SOCKETS) <= sockets_before + _MAX_SPARE_SOCKETS
    )
