"""The place of this repository, the packages of it that a robot installs, and how its files are walked."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROBOT = ("core", "specs", "bundle", "replay.pool", "robot", "rollout", "server")
"""The packages of sacpipe that run on a robot."""


def statements(node):
    """Walk the statements below a node; no expression holds any."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child
            yield from statements(child)
