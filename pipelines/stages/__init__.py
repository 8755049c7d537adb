"""The stages, one file each: files in, files out."""

import sys

from sacpipe.core.fixed_arithmetic import restart_fixed

if sys.argv[:1] == [
    "-m"
]:  # `python -m pipelines.stages.NAME`: Python looks for the module, nothing is loaded
    restart_fixed()
