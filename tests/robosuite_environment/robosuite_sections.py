"""Sections of params.yaml for the tests of robosuite."""

from sacpipe.envs.robosuite import RobosuiteTask

SIX = ("Door", "Lift", "NutAssemblySquare", "PickPlaceCan", "Stack", "Wipe")
SOFT = {"horizon": 20, "reward_shaping": True, "hard_reset": False}
"""Options of short episodes on one model."""


def section(task_id, *metrics, **options):
    """A task with short episodes."""
    return RobosuiteTask(suite="robosuite", id=task_id, options=SOFT | options, metrics=metrics)


def own(environment):
    """robosuite's own environment."""
    return environment._simulator._env
