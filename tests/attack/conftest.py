"""What the attacks share: a server with a token, and how long and by how many peers it is attacked."""

import os
from collections import defaultdict

import pytest
from hostile_peer import TOKEN

MAX_SHORT_ROWS = 36
"""Rows of one test in the short form, at most."""


@pytest.fixture(scope="session")
def attack_s():
    """Length of each attack on the server in seconds."""
    return float(os.environ.get("ATTACK_SECONDS", "1.5"))


@pytest.fixture(scope="session")
def num_peers():
    """Number of hostile peers at once."""
    return int(os.environ.get("ATTACK_PEERS", "4"))


@pytest.fixture(scope="session")
def token_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN + "\n")
    return file


def pytest_collection_modifyitems(config, items):
    """In the short form, keep rows of each test at equal distances."""
    if not os.environ.get("ATTACK_SHORT"):
        return
    rows = defaultdict(list)
    for item in items:
        rows[item.location[0], item.originalname].append(item)
    kept = {id(item) for group in rows.values() for item in group[:: -(-len(group) // MAX_SHORT_ROWS)]}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = [item for item in items if id(item) in kept]
