"""dm_control's private parts, which sacpipe/envs/dm_control.py and dm_control_composer.py use."""

import inspect

from canary import canary

from sacpipe.envs.dm_control import _import_suite


def test_step_limit():
    environment = _import_suite().load("pendulum", "swingup")
    with canary(
        "dm_control Environment._step_limit",
        "sacpipe/envs/dm_control.py: compute it from the task's time limit",
    ):
        assert environment._step_limit == 1000.0, "expected 20 s at 50 Hz"


def test_contexts():
    physics = _import_suite().load("quadruped", "escape").physics
    with canary(
        "dm_control Physics.contexts", "sacpipe/envs/dm_control.py: keep the task from OpenGL by another way"
    ):
        assert isinstance(inspect.getattr_static(type(physics), "contexts"), property), "expected a property"


def test_registry():
    _import_suite()
    with canary(
        "dm_control.manipulation.shared.registry",
        "sacpipe/envs/dm_control_composer.py: find the constructor of a task elsewhere",
    ):
        from dm_control import manipulation
        from dm_control.manipulation.shared import registry

        assert callable(registry.get_constructor(manipulation.ALL[0]))
