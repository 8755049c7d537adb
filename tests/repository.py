"""The place of this repository, and the packages of it that a robot installs."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
ROBOT = ("core", "specs", "bundle", "replay.pool", "robot", "rollout", "server")
"""The packages of sacpipe that run on a robot."""
