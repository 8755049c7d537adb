"""A task suite of tasks in Gymnasium's registry: what `gymnasium` and the suites of packages share.

Gymnasium's own wrappers for call order, checks and time limits are removed, because `TaskEnvironment` does
their work. Gymnasium and MuJoCo are imported inside `make()` and `tasks()` only.
"""

import contextlib
import copy
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from sacpipe.core.errors import ConfigError
from sacpipe.envs.base import ComputeRewards, Environment, Options, TaskSection, try_step, unknown_task
from sacpipe.envs.foreign_code import retryable_errors, task_errors
from sacpipe.envs.gymnasium_goals import goal_rewards
from sacpipe.envs.gymnasium_layers import RepeatedAction
from sacpipe.envs.gymnasium_simulator import GymnasiumSimulator
from sacpipe.envs.gymnasium_terms import observation_parts, read_spec
from sacpipe.envs.info_metrics import metrics_reader
from sacpipe.envs.mujoco_compat import repair_robotics
from sacpipe.envs.mujoco_terms import route_warnings
from sacpipe.envs.observation_reader import observation_reader
from sacpipe.envs.rendering.opengl import without_opengl
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.env_spec import EnvSpec


def find_constructor(gym: Any, task_id: str) -> tuple[Callable[..., Any] | None, Mapping[str, Any]]:
    """Return a registered task's constructor, and the keyword arguments of its registration.

    Args:
        gym: The module gymnasium.
        task_id: Registered id; the module of `module:Id-v0` is imported first.

    Returns:
        None and an empty mapping for an id that is not registered; `gym.make` explains it.
    """
    from gymnasium.envs import registration

    module, _, name = task_id.rpartition(":")
    if module:
        importlib.import_module(module)
    spec = gym.registry.get(name)
    if spec is None:
        namespace, bare, version = registration.parse_env_id(name)
        newest = registration.find_highest_version(namespace, bare) if version is None else version
        spec = gym.registry.get(registration.get_env_id(namespace, bare, newest))
    if spec is None or spec.entry_point is None:
        return None, {}
    entry_point = spec.entry_point
    return (entry_point if callable(entry_point) else registration.load_env_creator(entry_point)), spec.kwargs


class Parameters:
    """Named parameters of a constructor, and of those of its bases that it passes keyword arguments to.

    YAML has no tuples, a task may change the lists that it receives, and a plain Gymnasium task need not
    accept `render_mode`.

    Args:
        constructor: A class or a function; None accepts every name.
    """

    def __init__(self, constructor: Callable[..., Any] | None) -> None:
        self._defaults: dict[str, Any] = {}
        self._any_name = not _takes_nothing(constructor)
        for function in _functions(constructor):
            try:
                parameters = inspect.signature(function).parameters.values()
            except (TypeError, ValueError):  # of a compiled class
                return
            for parameter in parameters:
                if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                    self._defaults.setdefault(parameter.name, parameter.default)
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                self._any_name = False
                return

    def accepts(self, name: str) -> bool:
        """Return whether the constructor has a parameter of this name, or takes any name."""
        return self._any_name or name in self._defaults

    def has(self, name: str) -> bool:
        """Return whether the constructor has a parameter of this name."""
        return name in self._defaults

    def convert(self, options: Options, registered: Mapping[str, Any]) -> dict[str, Any]:
        """Return copies of options, with a tuple for a list where the default is a tuple.

        Args:
            options: Keyword arguments from params.yaml.
            registered: Defaults of the registration, which precede those of the constructor.
        """
        defaults = self._defaults | dict(registered)
        return {name: _convert(value, defaults.get(name)) for name, value in options.items()}


def _functions(constructor: Callable[..., Any] | None) -> list[Any]:
    if constructor is None or _takes_nothing(constructor):
        return []
    if not inspect.isclass(constructor):
        return [constructor]
    return [
        kind.__dict__["__init__"]
        for kind in constructor.__mro__
        if kind is not object and "__init__" in kind.__dict__
    ]


def _takes_nothing(constructor: Any) -> bool:
    """Return whether a class has no constructor of its own."""
    return inspect.isclass(constructor) and (
        constructor.__init__ is object.__init__ and constructor.__new__ is object.__new__
    )


def _convert(value: Any, default: Any) -> Any:
    if isinstance(value, list) and isinstance(default, tuple):
        entry = default[0] if default else None
        return tuple(_convert(item, entry) for item in value)
    return copy.deepcopy(value)


_RESERVED = ("render_mode", "disable_env_checker", "width", "height", "camera_id", "camera_name")
"""Options that sacpipe sets itself."""
_REPEAT = "action_repeat"
_MAX_REPEAT = 1000


class RegisteredTask(TaskSection):
    """`task` section of a suite whose tasks Gymnasium's registry has."""

    imports_modules: ClassVar[bool] = False
    """Whether an id may name the module that registers it."""
    compute_rewards: ClassVar[Mapping[str, ComputeRewards]] = {}
    """Reward functions by id, of tasks whose rewards depend on recorded values only, whatever the options."""

    id: str
    """Registered id with its version, e.g. `FetchReach-v4`."""
    options: Options
    """Keyword arguments of the task, e.g. `ctrl_cost_weight`, and `max_episode_steps` and `action_repeat`."""

    @classmethod
    def import_packages(cls) -> Any:
        """Import what registers the suite's tasks; return the module gymnasium.

        Raises:
            ConfigError: a package is not installed.
        """
        return import_gymnasium(cls.suite_name)

    @classmethod
    def has_module(cls, name: str) -> bool:
        """Return whether tasks of a module are the suite's, by the module's full name."""
        raise NotImplementedError

    def adapt(self, env: Any) -> Any:
        """Return an environment, or a layer around it that repairs or names what the task does not."""
        return env

    def make(self, render_size: tuple[int, int] | None = None) -> Environment:
        """Build the task and try one step, so that a bad option is found here.

        Raises:
            UnknownTaskError: the id is not registered.
            ConfigError: see `TaskSection.make`.
            SimulatorError: see `TaskSection.make`.
            RendererError: a render size is given and no renderer works here.
        """
        gym = self.import_packages()
        task = self.name
        registered = gym.registry.get(self.id)
        is_known = registered is not None and self.has_module(entry_module(registered))
        if not is_known and not (self.imports_modules and ":" in self.id):
            raise unknown_task(self.suite_name, self.id, self.tasks())
        with self._newest_named(gym), task_errors(task, self.options), without_opengl():
            constructor, defaults = find_constructor(gym, self.id)
            repair_robotics()
        parameters = Parameters(constructor)
        options, repeat = self._own_options(parameters)
        arguments = parameters.convert(options, defaults)
        if render_size is not None and parameters.accepts("render_mode"):
            arguments["render_mode"] = "rgb_array"
        with self._newest_named(gym), task_errors(task, self.options, constructor):
            with without_opengl():
                env = gym.make(self.id, disable_env_checker=True, **arguments)
            return self._built(env, repeat, render_size)

    @contextlib.contextmanager
    def _newest_named(self, gym: Any) -> Iterator[None]:
        """Add the newest version to an error of an older one, whose own advice is about old packages."""
        try:
            yield
        except ConfigError as exc:
            family = self.id.rpartition("-v")[0]
            for newest in newest_versions(gym, self.has_module):
                if newest != self.id and newest.rpartition("-v")[0] == family:
                    name, reason = f"{self.suite_name}/{newest}", str(exc).rstrip(".")
                    raise ConfigError(f"{reason}. Use '{name}', the newest version.") from exc
            raise

    def _own_options(self, parameters: Parameters) -> tuple[Options, int]:
        """Return the options of the task, and how often each action is repeated.

        Raises:
            ConfigError: an option is sacpipe's own, or the number of repetitions is out of its range.
        """
        taken = sorted(set(_RESERVED) & set(self.options))
        if taken:
            raise ConfigError(f"task.options: {', '.join(taken)} is set by sacpipe. Remove it.")
        if parameters.has(_REPEAT):  # the task repeats actions itself
            return self.options, 1
        options = dict(self.options)
        repeat = options.pop(_REPEAT, 1)
        if type(repeat) is not int or not 1 <= repeat <= _MAX_REPEAT:
            raise ConfigError(
                f"task.options: {_REPEAT}: expected a whole number in [1, {_MAX_REPEAT}], found {repeat!r}."
            )
        return options, repeat

    def _built(self, env: Any, repeat: int, render_size: tuple[int, int] | None) -> Environment:
        """Wrap what `gymnasium.make` returned, and try one step."""
        task = self.name
        limit = None if env.spec is None else env.spec.max_episode_steps
        env = self.adapt(_unwrap(env))
        parts = observation_parts(task, env)
        spec = read_spec(task, env, limit, parts)
        if repeat > 1:
            env, spec = RepeatedAction(env, repeat), _slower(spec, repeat)
        simulator = GymnasiumSimulator(env, observation_reader(spec.layout, parts), render_size)
        try_step(simulator, spec, metrics_reader(self.metrics))
        retryable = retryable_errors(task, env.unwrapped)
        rewards = self.compute_rewards.get(self.id) if repeat == 1 else None
        rewards = rewards or goal_rewards(env, parts, simulator, spec)
        simulator.open_camera(self.id)
        return TaskEnvironment(spec, simulator, rewards, retryable, self.metrics)


def _slower(spec: EnvSpec, repeat: int) -> EnvSpec:
    """Return the specification of a task whose actions are repeated: no episode is longer than without.

    Raises:
        ConfigError: an episode is shorter than the repetitions of one action.
    """
    period, limit = spec.control_period_s, spec.max_episode_steps
    if limit is not None and repeat > limit:
        raise ConfigError(
            f"task.options: {_REPEAT}: expected at most the {limit} steps of an episode, found {repeat}."
        )
    return spec.replace(
        control_period_s=None if period is None else period * repeat,
        max_episode_steps=None if limit is None else limit // repeat,
    )


def import_gymnasium(suite: str) -> Any:
    """Import Gymnasium, and route MuJoCo's warnings if MuJoCo is installed.

    Raises:
        ConfigError: Gymnasium is not installed.
    """
    with without_opengl():
        try:
            import gymnasium as gym
        except ImportError as exc:
            raise ConfigError(
                f"task suite '{suite}' needs the package gymnasium: {exc}. Install the package."
            ) from exc
        try:
            route_warnings()
        except ImportError:
            return gym  # classic control needs no MuJoCo; a MuJoCo task reports the missing package itself
    return gym


def newest_versions(gym: Any, has_module: Callable[[str], bool]) -> list[str]:
    """Return the newest version of each registered id whose module a suite has."""
    newest: dict[str, tuple[int, str]] = {}
    for task_id, spec in gym.registry.items():
        family, version = f"{spec.namespace}/{spec.name}", spec.version or 0
        if has_module(entry_module(spec)) and (family not in newest or version > newest[family][0]):
            newest[family] = (version, task_id)
    return [task_id for _, task_id in newest.values()]


def entry_module(spec: Any) -> str:
    """Return the name of the module that has a registered task's class or function."""
    entry_point = spec.entry_point
    name = entry_point if isinstance(entry_point, str) else getattr(entry_point, "__module__", "")
    return str(name).partition(":")[0]


def _unwrap(env: Any) -> Any:
    from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

    while isinstance(env, (OrderEnforcing, PassiveEnvChecker, TimeLimit)):
        env = env.env
    return env
