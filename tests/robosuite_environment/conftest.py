"""`make robosuite` runs these tests in an environment that has robosuite; without it, none is collected."""

import importlib.util
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "training"))  # small_run.py
collect_ignore_glob = ["*"] if importlib.util.find_spec("robosuite") is None else []
