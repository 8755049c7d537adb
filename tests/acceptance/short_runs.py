"""A program that trains for a short time by the native engine and prints digests of the outputs, as JSON.

`python short_runs.py TASK...` trains in this process, after it has restarted in the fixed environment.
"""

import sys

from sacpipe.core.fixed_arithmetic import restart_fixed

if __name__ == "__main__":
    restart_fixed()

import json
import tempfile
from pathlib import Path

from signature import OUTPUTS, file_digests, short_params, train_briefly

STEPS = 160


def digests(task):
    """Train on a task; return the digest of every output."""
    with tempfile.TemporaryDirectory() as folder:
        return file_digests(train_briefly(short_params(task, STEPS), Path(folder)), OUTPUTS)


if __name__ == "__main__":
    sys.stdout.write(json.dumps({task: digests(task) for task in sys.argv[1:]}) + "\n")
