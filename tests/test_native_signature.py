"""The committed signature is what the native engine computes, in the environment of the stages."""

import subprocess
import sys

import pytest
from repository import ROOT

COMMITTED = ROOT / "tests" / "signature.txt"


@pytest.mark.slow
def test_the_signature_is_the_committed_one():
    command = [sys.executable, ROOT / "tests" / "signature.py", "--parts"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found, committed = result.stdout.splitlines()[-1], COMMITTED.read_text().strip()
    assert found == committed, (
        f"the native engine computes other numbers: the signature is {found}, and tests/signature.txt has "
        f"{committed}. If that is not meant, compare `make signature` with the commit before:\n{result.stdout}"
        f"If it is, write the new one into tests/signature.txt, and the line `Signature: {found}` into the "
        "message of the commit."
    )
