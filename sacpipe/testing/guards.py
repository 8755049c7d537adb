"""The contract test of a guard: run `check_guard` on a guard before a robot runs it.

The runtime calls a guard at every step of a robot, so a guard must be exact about what it refuses, forget an
episode when the next one begins, and raise nothing whatever a sensor gives.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from pydantic import ValidationError

from sacpipe.bundle.contract import Contract
from sacpipe.core.config import Config
from sacpipe.core.errors import ContractError
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.testing.guard_contract import example_contract, example_observations, example_spec

_NUM_STEPS = 20
_MAX_STEPS = 1000
"""Number of steps after which an example has to be refused."""
_START_NS = 10**15
_HUGE = {int: 10**30, float: 1e300}
"""Numbers that no setting may have: a contract comes from another machine."""


def check_guard(guard: type[Guard], spec: EnvSpec | None = None) -> None:
    """Test the config of a guard's example, and the armed example on steps of a task.

    Args:
        guard: The guard. Its `example` and `example_refused` say what is tested.
        spec: Task of a guard that needs certain terms; None for a small one with two vectors and an image.

    Raises:
        ContractError: the guard breaks a rule. The message has the guard, the rule and what was found.
    """
    example = guard.example()
    contract = example_contract(example_spec() if spec is None else spec.policy_spec, (example,))
    for rule in (_check_config, _check_numbers, _check_names, _check_comparison):
        rule(example)
    for period_s in (contract.spec.control_period_s, None):
        _Trial(example, contract, period_s).check_hostile()
    trial = _Trial(example, contract, contract.spec.control_period_s)
    trial.check_clean("at the start")
    trial.check_refused()
    trial.begin_episode()
    trial.check_clean("in the episode after a refusal")


def _check_config(example: Guard) -> None:
    """The config is the same after it was written to JSON and read."""
    again = type(example).model_validate_json(json.dumps(example.as_tree()))
    _require(example, again == example, f"a config that JSON keeps, found {again!r}")
    if not example.can_limit:
        is_refused = _refuses(example, {"fallback": "limit"})
        _require(example, is_refused, "the fallback `limit` refused, because `can_limit` is False")


def _check_numbers(example: Guard) -> None:
    """Every number has a bound."""
    for key, value in example.as_tree().items():
        for number in _HUGE.values() if type(value) in _HUGE else ():
            is_refused = _refuses(example, {key: number})
            _require(example, is_refused, f"a bound of `{key}`, found that {number:g} is allowed")


def _check_names(example: Guard) -> None:
    """Default and weakest config are of the same guard, and have a fallback that is allowed."""
    for method in ("default", "weakest"):
        config = getattr(type(example), method)()
        is_own = config is None or (type(config) is type(example) and config.name == example.name)
        _require(example, is_own, f"{method}() of the same guard, found {config!r}")
    allowed = type(example).allowed_fallbacks()
    _require(example, example.fallback in allowed, f"a fallback of {allowed} in the example")


def _check_comparison(example: Guard) -> None:
    """No config is looser than itself, and what is looser are settings."""
    _require(example, example.looser_keys(example) == (), "no setting looser than itself")
    for other in (type(example).default(), type(example).weakest()):
        for keys in () if other is None else (example.looser_keys(other), other.looser_keys(example)):
            unknown = set(keys) - type(example).model_fields.keys()
            _require(example, not unknown, f"names of settings of looser_keys, found {sorted(unknown)}")


class _Trial:
    """A guard on steps of the example task.

    Args:
        example: Config of the guard.
        contract: Contract of the example task.
        period_s: Control period, in seconds; None for a task without a clock.
    """

    def __init__(self, example: Guard, contract: Contract, period_s: float | None) -> None:
        self._example, self._contract = example, contract
        self._armed = _raising_nothing(example, "arm", lambda: example.arm(contract, period_s))
        _require(
            example, isinstance(self._armed, ArmedGuard), f"an ArmedGuard of arm(), found {self._armed!r}"
        )
        self._now_ns, self._period_ns = _START_NS, round((period_s or 0.02) * 1e9)
        self._facts = StepFacts(contract.spec, lambda: self._now_ns)
        self._observations = itertools.cycle(example_observations(contract.spec))
        self._questions: list[Callable[[StepFacts], bool]] = [
            getattr(self._armed, method)
            for method in ("refuses_observation", "refuses_action")
            if getattr(type(self._armed), method) is not getattr(ArmedGuard, method)
        ]
        _require(example, bool(self._questions), "refuses_observation or refuses_action, found neither")

    def begin_episode(self) -> None:
        """Begin the next episode."""
        self._facts.begin_episode()
        _raising_nothing(self._example, "begin_episode", self._armed.begin_episode)

    def check_clean(self, when: str) -> None:
        """Steps that are as in training pass."""
        for step in range(_NUM_STEPS):
            self._next_step()
            _require(self._example, not self._is_refused(), f"step {step} {when} to pass, found it refused")
            self._keep()

    def check_refused(self) -> None:
        """Steps of `example_refused` are refused, and a limited action is not refused again."""
        facts = self._facts
        for _ in range(_MAX_STEPS):
            self._next_step()
            type(self._example).example_refused(facts, self._contract)
            if self._is_refused():
                if self._example.can_limit and facts.action is not None:
                    facts.action = self._armed.limit(facts, facts.action)
                    _require(self._example, not self._is_refused(), "an action that limit() made to pass")
                return
            self._keep()
        _require(self._example, False, f"a refusal within {_MAX_STEPS} steps of example_refused")

    def check_hostile(self) -> None:
        """Whatever a step has, the guard answers."""
        for disturb in _hostile(self._facts):
            self._next_step()
            disturb()
            self._is_refused()

    def _next_step(self) -> None:
        facts = self._facts
        self._now_ns += self._period_ns
        observation = next(self._observations)
        facts.observation.vector[:] = observation.vector
        for name, image in facts.observation.images.items():
            image[...] = observation.images[name]
        facts.is_complete, facts.term_stamps_ns = True, None
        facts.began_ns, facts.stamp_ns = self._now_ns, self._now_ns - self._period_ns // 10
        facts.oldest_stamp_ns = facts.stamp_ns
        facts.action = [(term.low + term.high) / 2.0 for term in self._contract.spec.action]

    def _keep(self) -> None:
        """Do what the runtime does after a step that passed."""
        facts = self._facts
        facts.last_stamp_ns, facts.last_action, facts.is_start = facts.stamp_ns, facts.action, False

    def _is_refused(self) -> bool:
        answers = []
        for question in self._questions:
            answer = _raising_nothing(self._example, question.__name__, partial(question, self._facts))
            _require(self._example, isinstance(answer, bool), f"a bool, found {answer!r}")
            answers.append(answer)
        return any(answers)


def _hostile(facts: StepFacts) -> Iterator[Callable[[], None]]:
    """Yield what disturbs the facts of a step."""
    largest = float(np.finfo(np.float32).max)
    for value in (math.nan, math.inf, -math.inf, largest, -largest):
        yield partial(facts.observation.vector.fill, value)
        yield partial(setattr, facts, "action", [value] * len(facts.action or ()))
    for stamp_ns in (0, -(2**63), 2**63 - 1, facts.began_ns):
        yield partial(_set_stamps, facts, stamp_ns)
    yield partial(setattr, facts, "is_complete", False)
    yield partial(setattr, facts, "began_ns", 0)


def _set_stamps(facts: StepFacts, stamp_ns: int) -> None:
    facts.stamp_ns = facts.oldest_stamp_ns = stamp_ns
    facts.term_stamps_ns = dict.fromkeys(facts.observation, stamp_ns)


def _refuses(example: Config, changes: dict[str, Any]) -> bool:
    try:
        type(example).model_validate_json(json.dumps(example.as_tree() | changes))
    except ValidationError:
        return True
    return False


def _raising_nothing(example: Guard, name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as exc:
        raise ContractError(_message(example, f"{name} to raise nothing, found {exc!r}")) from exc


def _require(example: Guard, is_kept: bool, expected: str) -> None:
    if not is_kept:
        raise ContractError(_message(example, expected))


def _message(example: Guard, expected: str) -> str:
    return f"guard '{example.name}' breaks the contract of a guard: expected {expected}."
