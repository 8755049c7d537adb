"""Updates by kernels in a process of their own: prints a digest of the state, and how many threads it took.

Arguments: algorithm, updates, and `fork` if the process forks in the middle and both go on.
"""

import hashlib
import os
import sys
from pathlib import Path

from learning import make_batch, make_learner

from sacpipe.algorithms.sac_native import NativeSAC
from sacpipe.algorithms.td3_native import NativeTD3
from sacpipe.algorithms.tqc_native import NativeTQC

NATIVE = {"sac": NativeSAC, "td3": NativeTD3, "tqc": NativeTQC}
SIZES = {"network": {"name": "mlp", "hidden_dims": [64, 70]}, "normalise_observations": True}
BATCH = 200


def make_native(name):
    return NATIVE[name](make_learner(name, **SIZES))


def update(native, numbers):
    for number in numbers:
        native.update(make_batch(number, size=BATCH))


def digest(native):
    state = native.state()
    text = b"".join(state[name].tobytes() for name in sorted(state))
    return hashlib.sha256(text).hexdigest()


def main(name, updates, *how):
    native = make_native(name)
    before = len(list(Path("/proc/self/task").iterdir()))
    update(native, range(updates // 2))
    child = os.fork() if how else None
    update(native, range(updates // 2, updates))
    threads = len(list(Path("/proc/self/task").iterdir())) - (before if child != 0 else 1) + 1
    sys.stdout.write(f"{threads} {digest(native)}\n")
    sys.stdout.flush()
    if child == 0:
        os._exit(0)
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
