"""Whether MLflow can record here, tried in a process of its own.

`python -m sacpipe.tracking.mlflow.check FOLDER`, with the address on stdin, leaves no open connection: MLflow
keeps those of a process to a database until the process ends, also after the file was moved. An address may
hold a password, so it is no argument, which every user of the machine can read.
"""

import subprocess
import sys
from pathlib import Path

from sacpipe.core.errors import SacpipeError, StoreError, StoreUnavailableError
from sacpipe.tracking.mlflow.address import hide_password
from sacpipe.tracking.mlflow.connection import MlflowConnection

_UNAVAILABLE, _UNUSABLE = 10, 11
"""Exit codes of this module."""


def check_in_child(tracking_uri: str, artifact_folder: Path) -> None:
    """Run `MlflowConnection.check` in a process of its own.

    Raises:
        StoreUnavailableError: MLflow does not answer, or its database is locked.
        StoreError: MLflow cannot record there.
    """
    command = [sys.executable, "-m", __name__, str(artifact_folder)]
    child = subprocess.run(command, capture_output=True, text=True, input=tracking_uri, check=False)
    if child.returncode == 0:
        return
    kind = StoreUnavailableError if child.returncode == _UNAVAILABLE else StoreError
    lines = child.stderr.strip().splitlines()
    place = hide_password(tracking_uri)
    raise kind(lines[-1] if lines else f"the check of {place} ended with code {child.returncode}.")


def main() -> int:
    """Check what argument and input name; an error's message is the last line of stderr."""
    try:
        MlflowConnection(sys.stdin.read(), Path(sys.argv[1])).check()
    except SacpipeError as exc:
        sys.stderr.write(f"\n{' '.join(str(exc).split())}\n")
        return _UNAVAILABLE if exc.retryable else _UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
