"""Soft Actor-Critic as a pipeline: from a simulated task to a policy on a robot.

Imports nothing, so that the robot's process stays light (see docs/decisions/0003).
"""

__version__ = "0.1.0"
