"""Public clients against a real server, from an environment of their own. `make acceptance` makes it."""

import subprocess
from pathlib import Path

import pytest
from repository import ROOT
from served import running

pytestmark = pytest.mark.acceptance

PYTHON = ROOT / ".clients" / "bin" / "python"
SCRIPTS = sorted((Path(__file__).parent / "clients").glob("*_client.py"))


@pytest.fixture(scope="module")
def server(bundles):
    with running("-m", "sacpipe.server", bundles[0], "--port", "0") as found:
        yield found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_public_client_gets_everything_it_can_ask_for(server, script):
    words = [PYTHON, script, f"http://{server.address}"]
    result = subprocess.run(words, env={}, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
