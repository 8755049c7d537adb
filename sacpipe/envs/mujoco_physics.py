"""Changed mass and friction of a task that simulates with MuJoCo, for rules of the release gate.

The model is reached through the simulator of a suite. Files of suites are inputs of the train stage, so they
have no method for it; a suite of another package may give its `Simulator` a method `mujoco_model`.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

from sacpipe.core.errors import SacpipeError, SimulatorError
from sacpipe.core.fence import first_error
from sacpipe.envs.base import Environment
from sacpipe.envs.foreign_code import describe_error
from sacpipe.envs.mujoco_terms import compiled_model

_HOLDERS = ("", "_env", "_env.unwrapped", "_env.ant_env", "_env.physics", "_env.sim", "_simulation")
"""Where the suites' simulators keep the object that has a model."""
_WRAPPED = ("ptr", "_model")
"""Attributes with MuJoCo's own model, of dm_control's and robosuite's views of it."""

_MASS = ("body_mass", "body_inertia")
_FRICTION = (
    "dof_damping", "dof_frictionloss", "geom_friction", "pair_friction", "tendon_damping",
    "tendon_frictionloss",
)  # fmt: skip
_DERIVED = (
    "actuator_acc0", "body_invweight0", "body_subtreemass", "dof_M0", "dof_invweight0", "flexedge_invweight0",
    "tendon_invweight0",
)  # fmt: skip
"""What MuJoCo computes from masses when it compiles a model."""


def find_model(environment: Environment) -> Any:
    """Return the MjModel of an environment's present episode; None where the task has none that is known.

    Raises:
        SimulatorError: the simulator's own `mujoco_model` raised an error.
    """
    found: list[Any] = []
    simulator = vars(environment).get("_simulator")
    error = first_error(lambda: found.append(_own_model(simulator)))
    if isinstance(error, SacpipeError):
        raise error
    if error is not None:
        place = f"task '{environment.spec.task}': mujoco_model() of its simulator"
        raise SimulatorError(f"{place} raised {describe_error(error)}.") from error
    if found[0] is None:
        first_error(lambda: found.append(_find(simulator)))  # a task's own attributes
    return found[-1]


@contextlib.contextmanager
def changed_physics(environment: Environment, *, mass: float, friction: float) -> Iterator[None]:
    """Scale mass and friction of the present episode; afterwards every value is as before, bit for bit.

    Enter it after `reset`, because some tasks compile a model for each episode.

    Args:
        environment: An environment with an episode that has not begun to step.
        mass: Factor of the mass and inertia of every body.
        friction: Factor of the friction of contacts, and of dry friction and damping of joints and tendons.

    Raises:
        SimulatorError: the task has no MuJoCo model or cannot give it, or MuJoCo refuses the changed one.
    """
    model = find_model(environment)
    if model is None:
        raise SimulatorError(f"task '{environment.spec.task}': expected a MuJoCo model, found none.")
    before = {name: getattr(model, name).copy() for name in (*_MASS, *_FRICTION, *_DERIVED)}
    try:
        _scale(model, _FRICTION, friction)
        if mass != 1.0:
            _fenced(environment, lambda: _scale_mass(model, mass))
        yield
    finally:
        for name, values in before.items():
            getattr(model, name)[...] = values


def _own_model(simulator: Any) -> Any:
    own = getattr(simulator, "mujoco_model", None)
    return own() if callable(own) else None


def _find(simulator: Any) -> Any:
    for path in _HOLDERS:
        holder = simulator
        for name in path.split(".") if path else ():
            holder = getattr(holder, name, None)
        found = compiled_model(holder)
        view = getattr(holder, "model", None)
        for name in _WRAPPED if found is None else ():
            found = compiled_model(_Holder(getattr(view, name, None))) if found is None else found
        if found is not None:
            return found
    return None


class _Holder:
    def __init__(self, model: Any) -> None:
        self.model = model


def _scale(model: Any, names: tuple[str, ...], factor: float) -> None:
    for name in names:
        getattr(model, name)[...] *= factor


def _scale_mass(model: Any, factor: float) -> None:
    """Scale masses and what depends on them.

    MuJoCo computes that on a copy: it would set other values too, such as welds that a task has moved.
    """
    import mujoco

    changed = copy.copy(model)
    _scale(changed, _MASS, factor)
    mujoco.mj_setConst(changed, mujoco.MjData(changed))
    for name in (*_MASS, *_DERIVED):
        getattr(model, name)[...] = getattr(changed, name)


def _fenced(environment: Environment, work: Callable[[], None]) -> None:
    error = first_error(work)
    if error is not None:
        raise SimulatorError(
            f"task '{environment.spec.task}': the changed model was refused: {describe_error(error)}."
        ) from error
