"""A server process with the hand-made bundle."""

import pytest
from served import running


@pytest.fixture(scope="module")
def bundle(bundles):
    return bundles[0]


@pytest.fixture(scope="module")
def server(bundle):
    with running("-m", "sacpipe.server", bundle, "--port", "0") as found:
        yield found
