"""The task suite `gymnasium_robotics`: Fetch, Hand, Adroit, PointMaze, AntMaze and Kitchen.

A suite of its own, so that these tasks are listed without building 100 of them, that what is repaired and
named of them is no part of other tasks' identity, and that a missing package is one message. The package
registers its ids with Gymnasium; `gymnasium_robotics_layers` has what each family needs.
"""

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from sacpipe.core.errors import ConfigError
from sacpipe.envs.base import require_package
from sacpipe.envs.gymnasium_registered import RegisteredTask, import_gymnasium, newest_versions
from sacpipe.envs.gymnasium_robotics_layers import robotics_layer
from sacpipe.envs.rendering.opengl import without_opengl

_LOGGER = logging.getLogger(__name__)
_PACKAGE = "gymnasium_robotics"
_FAMILIES = tuple(
    f"{_PACKAGE}.envs.{family}"
    for family in ("adroit_hand", "fetch", "franka_kitchen", "maze", "shadow_dexterous_hand")
)
"""Beginnings of the modules' names; the package has old versions of Gymnasium's own tasks too."""


class RoboticsTask(RegisteredTask):
    """`task` section of the task suite gymnasium_robotics."""

    suite_name: ClassVar[str] = "gymnasium_robotics"

    @classmethod
    def import_packages(cls) -> Any:
        """Import Gymnasium-Robotics, which registers its tasks; return the module gymnasium.

        Raises:
            ConfigError: a package is not installed.
        """
        gym = import_gymnasium(cls.suite_name)
        require_package(f"task suite '{cls.suite_name}'", _PACKAGE, "robotics")
        with without_opengl(), contextlib.redirect_stderr(io.StringIO()) as notice:
            import gymnasium_robotics  # prints its authors' announcements

            gym.register_envs(gymnasium_robotics)
        if notice.getvalue().strip():
            _LOGGER.debug("gymnasium_robotics: %s", notice.getvalue().strip())
        return gym

    def adapt(self, env: Any) -> Any:
        """Put the layer of the task's family around it."""
        return robotics_layer(env)

    @classmethod
    def tasks(cls) -> Sequence[str]:
        """List the newest version of every id of the six families."""
        try:
            gym = cls.import_packages()
        except ConfigError:
            return ()
        return tuple(sorted(newest_versions(gym, lambda name: name.startswith(_FAMILIES))))

    @classmethod
    def example(cls) -> Self:
        """Return a gripper that is to reach a point, with its metrics."""
        metrics = ("is_success", "goal_distance")
        return cls(suite="gymnasium_robotics", id="FetchReach-v4", options={}, metrics=metrics)
