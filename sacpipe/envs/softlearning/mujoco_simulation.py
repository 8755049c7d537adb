"""A MuJoCo model of this suite, its state and its camera."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ConfigError
from sacpipe.envs import mujoco_terms
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.rendering.camera import OptionalCamera
from sacpipe.envs.rendering.opengl import without_opengl
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import ActionTerm

_MODELS = Path(__file__).parent / "models"

FloatVector = NDArray[np.float64]
Rows = NDArray[np.float64]


class MujocoSimulation:
    """One simulation.

    Args:
        file_name: Name of the model's XML file.
        frame_skip: Simulation steps in a control period.
        render_size: Size of images, (height, width) in pixels; None for no rendering.
        view: Fields of the free camera, see `MujocoCamera`.

    Raises:
        ConfigError: MuJoCo is not installed.
        RendererError: a render size is given and no renderer works here.
    """

    def __init__(
        self,
        file_name: str,
        frame_skip: int,
        render_size: tuple[int, int] | None,
        view: Mapping[str, Any],
    ) -> None:
        self._mujoco = _import_mujoco()
        self.model = self._mujoco.MjModel.from_xml_path(str(_MODELS / file_name))
        self.data = self._mujoco.MjData(self.model)
        self._frame_skip = frame_skip
        self.period_s = float(self.model.opt.timestep) * frame_skip
        self._camera = OptionalCamera(render_size)
        self._camera.open(self.model, free=view)

    def action_terms(self, task: str) -> tuple[ActionTerm, ...]:
        """Return the terms of the actuators, named after their joints."""
        ranges = self.model.actuator_ctrlrange
        low, high = action_bounds(task, ranges[:, 0], ranges[:, 1])
        return mujoco_terms.action_terms(self.model, low, high)

    def start(self, positions: FloatVector, velocities: FloatVector) -> None:
        """Begin an episode; nothing of an earlier one remains, not even the solver's warm start."""
        self._mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = positions, velocities
        self._mujoco.mj_forward(self.model, self.data)

    def advance(self, action: FloatArray) -> None:
        """Apply an action for a control period. Then positions of bodies are those of the present joints.

        Raises:
            FloatingPointError: the simulation diverged; MuJoCo has reset it.
        """
        before = self.data.time
        self.data.ctrl[:] = action
        self._mujoco.mj_step(self.model, self.data, self._frame_skip)
        if self.data.time < before + 0.5 * self.period_s:
            raise FloatingPointError("MuJoCo: the simulation diverged and was reset")
        self._mujoco.mj_kinematics(self.model, self.data)

    def contact_forces(self) -> FloatVector:
        """Return the contact forces and torques on each body but the world. Shape (bodies - 1, 6)."""
        self._mujoco.mj_rnePostConstraint(self.model, self.data)
        return np.array(self.data.cfrc_ext[1:])

    def centre_of_mass(self, body: str) -> FloatVector:
        """Return the centre of mass of a body and its children, at the present joints. Shape (3,).

        Call it after `contact_forces`, which are about the centre of mass of the step that had the contacts.
        """
        self._mujoco.mj_comPos(self.model, self.data)
        return np.array(self.data.body(body).subtree_com)

    def render(self) -> NDArray[np.uint8]:
        """Return an image of the present state. Shape (height, width, 3).

        Raises:
            RendererError: no render size was given.
        """
        return self._camera.render(self.data)

    def close(self) -> None:
        """Free the camera."""
        self._camera.close()


def _import_mujoco() -> Any:
    """Import MuJoCo without any OpenGL.

    Raises:
        ConfigError: MuJoCo is not installed.
    """
    try:
        with without_opengl():
            import mujoco
    except ImportError as exc:
        raise ConfigError(f"this task needs the package mujoco: {exc}. Install the package.") from exc
    mujoco_terms.route_warnings()
    return mujoco


def squared_norms(rows: Rows) -> Rows:
    """Return the sum of the squares of each row's entries, added in their order. Shape (N,).

    One row gives the same bits as many.
    """
    total: Rows = np.zeros(len(rows))
    for column in rows.T:
        total += column**2
    return total


def norms(rows: Rows) -> Rows:
    """Return the Euclidean norm of each row. Shape (N,)."""
    return np.sqrt(squared_norms(rows))
