"""Observation and action terms from a compiled MuJoCo model: names, units and sources.

The task suites that simulate with MuJoCo share this file. It does not import MuJoCo to read a model.
"""

import itertools
import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import ActionTerm, Term, vector_term

_LOGGER = logging.getLogger(__name__)

_FREE, _BALL, _SLIDE, _HINGE = 0, 1, 2, 3
"""Joint types, as in MuJoCo's enum mjtJoint."""


def route_warnings() -> None:
    """Send MuJoCo's warnings to `logging`; by default MuJoCo writes MUJOCO_LOG.TXT to the current folder."""
    import mujoco

    mujoco.set_mju_user_warning(_log)


def _log(message: str) -> None:
    _LOGGER.log(logging.DEBUG if "deprecated" in message else logging.WARNING, "MuJoCo: %s", message)


def compiled_model(task: Any) -> Any:
    """Return the attribute `model` of a task if it is MuJoCo's MjModel; None for any other, or none."""
    mujoco = sys.modules.get("mujoco")  # a task that has an MjModel has imported it
    model = getattr(task, "model", None)
    return model if mujoco is not None and isinstance(model, mujoco.MjModel) else None


def _unique_name(name: str, names: Iterable[str], first: int) -> str:
    """Return a name that no earlier term has, by a number from `first` on if need be."""
    taken = set(names)
    numbered = (f"{name}_{number}" for number in itertools.count(first))
    return next(free for free in itertools.chain([name], numbered) if free not in taken)


def action_terms(model: Any, low: FloatArray, high: FloatArray) -> tuple[ActionTerm, ...]:
    """Name each action after its actuator, or after the actuator's joint.

    The unit is `N` or `N m` for a motor with gear 1, `1` (a share of the gear) for a motor with another
    gear, and `unknown` for other actuators.
    """
    terms: list[ActionTerm] = []
    for index in range(model.nu):
        name, unit = _actuator(model, index)
        name = _unique_name(name, (term.name for term in terms), index)  # several actuators of one joint
        terms.append(ActionTerm(name=name, unit=unit, low=float(low[index]), high=float(high[index])))
    return tuple(terms)


def _actuator(model: Any, index: int) -> tuple[str, str]:
    actuator = model.actuator(index)
    if actuator.trntype[0] != 0:  # mjTRN_JOINT
        return actuator.name or f"actuator_{index}", "unknown"
    joint = model.jnt(actuator.trnid[0])
    is_motor = actuator.gaintype[0] == 0 and actuator.biastype[0] == 0 and actuator.gainprm[0] == 1.0
    if is_motor and joint.type[0] in {_SLIDE, _HINGE}:
        newtons = "N" if joint.type[0] == _SLIDE else "N m"
        unit = newtons if actuator.gear[0] == 1.0 else "1"
    else:
        unit = "unknown"
    return actuator.name or joint.name or f"actuator_{index}", unit


def position_terms(model: Any, skipped: int) -> tuple[Term, ...]:
    """Return the terms of qpos from entry `skipped` on, joint by joint."""
    parts = {
        _FREE: (("position", 3, "m"), ("orientation", 4, "1")),
        _BALL: (("orientation", 4, "1"),),
        _SLIDE: (("position", 1, "m"),),
        _HINGE: (("angle", 1, "rad"),),
    }
    return _joint_terms(model, "qpos[{}:{}]", parts, skipped)


def velocity_terms(model: Any, note: str) -> tuple[Term, ...]:
    """Return the terms of qvel, joint by joint; `note` is appended to each source."""
    parts = {
        _FREE: (("velocity", 3, "m/s"), ("angular_velocity", 3, "rad/s")),
        _BALL: (("angular_velocity", 3, "rad/s"),),
        _SLIDE: (("velocity", 1, "m/s"),),
        _HINGE: (("angular_velocity", 1, "rad/s"),),
    }
    return _joint_terms(model, "qvel[{}:{}]" + note, parts, 0)


def _joint_terms(
    model: Any, source: str, parts: dict[int, tuple[tuple[str, int, str], ...]], skipped: int
) -> tuple[Term, ...]:
    terms, start = [], 0
    for index in range(model.njnt):
        joint = model.jnt(index)
        for quantity, size, unit in parts[int(joint.type[0])]:
            first, end = max(start, skipped), start + size
            if end > first:
                terms.append(
                    vector_term(
                        f"{joint.name or f'joint_{index}'}_{quantity}",
                        end - first,
                        unit=unit,
                        source="MuJoCo " + source.format(first, end),
                    )
                )
            start = end
    return tuple(terms)


def observation_terms(model: Any, structure: dict[str, int], velocity_note: str) -> tuple[Term, ...]:
    """Return the terms of an observation that Gymnasium describes by `observation_structure`.

    Args:
        model: The compiled MjModel.
        structure: Sizes of the blocks in order, e.g. {"skipped_qpos": 1, "qpos": 8, "qvel": 9}.
        velocity_note: Text to append to the source of each velocity, e.g. that it is clipped.
    """
    bodies = [model.body(index).name for index in range(1, model.nbody)]
    terms: list[Term] = []
    for block, size in structure.items():
        if block == "qpos":
            terms.extend(position_terms(model, int(structure.get("skipped_qpos", 0))))
        elif block == "qvel":
            terms.extend(velocity_terms(model, velocity_note))
        elif block != "skipped_qpos" and size > 0:
            terms.append(_block_term(block, int(size), bodies))
    unique: list[Term] = []
    for index, term in enumerate(terms):  # a joint may have the name that another joint's term gets
        name = _unique_name(term.name, (earlier.name for earlier in unique), index)
        unique.append(term if name == term.name else term.replace(name=name))
    return tuple(unique)


def _block_term(block: str, size: int, bodies: Sequence[str]) -> Term:
    per_body = block in {"cinert", "cvel", "cfrc_ext"}
    source = f"MuJoCo {block} of bodies {', '.join(bodies)}" if per_body else f"MuJoCo {block}[-{size}:]"
    return vector_term(block, size, unit="mixed", source=source)
