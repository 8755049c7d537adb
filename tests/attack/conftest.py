"""What the attacks share: a server with a token, and how long and by how many peers it is attacked."""

import os

import pytest
from hostile_peer import TOKEN


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
