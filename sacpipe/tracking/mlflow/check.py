"""Whether MLflow can record here, tried in a process of its own.

`python -m sacpipe.tracking.mlflow.check ADDRESS FOLDER` leaves no open connection: MLflow keeps those of a
process to a database until the process ends, also after the file was moved.
"""

import subprocess
import sys
from pathlib import Path

from sacpipe.core.errors import SacpipeError, StoreError, StoreUnavailableError
from sacpipe.tracking.mlflow.connection import MlflowConnection

_UNAVAILABLE, _UNUSABLE = 10, 11
"""Exit codes of this module."""


def check_in_child(tracking_uri: str, artifact_folder: Path) -> None:
    """Run `MlflowConnection.check` in a process of its own.

    Raises:
        StoreUnavailableError: MLflow does not answer, or its database is locked.
        StoreError: MLflow cannot record there.
    """
    command = [sys.executable, "-m", __name__, tracking_uri, str(artifact_folder)]
    child = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if child.returncode == 0:
        return
    kind = StoreUnavailableError if child.returncode == _UNAVAILABLE else StoreError
    lines = child.stderr.strip().splitlines()
    raise kind(lines[-1] if lines else f"the check of {tracking_uri} ended with code {child.returncode}.")


def main() -> int:
    """Check what the arguments name; an error's message is the last line of stderr."""
    try:
        MlflowConnection(sys.argv[1], Path(sys.argv[2])).check()
    except SacpipeError as exc:
        sys.stderr.write(f"\n{' '.join(str(exc).split())}\n")
        return _UNAVAILABLE if exc.retryable else _UNUSABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
