"""The boundary to a task's own code: whatever it raises becomes one error of sacpipe.

KeyboardInterrupt passes, because Ctrl-C during a step raises it too. SystemExit does not: a task that calls
`sys.exit(0)` would end a training as if it were done.
"""

import contextlib
import traceback
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sacpipe.core.errors import ConfigError, SacpipeError, SimulatorError
from sacpipe.envs.step_values import UnexpectedValueError, foreign_text

_MAX_TEXT = 500
"""Maximum length of a foreign error's text in a message."""

RetryableErrors = tuple[type[Exception], ...]
"""Classes of errors after which the same call may succeed."""

_RETRYABLE: RetryableErrors = (ConnectionError, TimeoutError)


def retryable_errors(task: str, owner: object) -> RetryableErrors:
    """Return the errors of a task after which a run is tried again.

    Args:
        task: Task suite and id, for messages.
        owner: The task's object or class. Its attribute `retryable_errors`, a tuple of classes, adds to
            ConnectionError and TimeoutError.

    Raises:
        ConfigError: the attribute is something else.
    """
    own = getattr(owner, "retryable_errors", ())
    if not isinstance(own, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in own
    ):
        raise ConfigError(
            f"task '{task}': retryable_errors: expected a tuple of exception classes, found "
            f"{foreign_text(own, repr)[:60]}."
        )
    return (*_RETRYABLE, *own)


def describe_error(exc: BaseException) -> str:
    """Return class and text of an error in one line, without a full stop."""
    if isinstance(exc, ValidationError):
        return "; ".join(map(_describe_fault, exc.errors()))
    text = foreign_text(exc)
    if isinstance(exc, UnexpectedValueError):
        return text
    if len(text) > _MAX_TEXT:
        text = text[: _MAX_TEXT - 3] + "..."
    return f"{type(exc).__name__}: {text.rstrip('.')}" if text else f"{type(exc).__name__} without a message"


def _describe_fault(fault: Mapping[str, Any]) -> str:
    """Return one fault of a specification: key, rule and value; of a rule between keys, the rule alone."""
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    return f"{'.'.join(map(str, fault['loc']))}: {message}, found {fault['input']!r}"[:_MAX_TEXT]


def simulator_error(
    where: str, action: str, exc: BaseException, retryable: RetryableErrors
) -> SimulatorError:
    """Return the error of a task that raised something in a run.

    Args:
        where: Task, episode and step.
        action: Call that raised it, e.g. `step()`.
        exc: The task's error, or an UnexpectedValueError about what it returned.
        retryable: Classes after which a retry may succeed.
    """
    if isinstance(exc, UnexpectedValueError):
        return SimulatorError(f"{where}: {describe_error(exc)}.")
    return SimulatorError(
        f"{where}: the task's {action} raised {describe_error(exc)}{_place(exc)}.",
        retryable=isinstance(exc, retryable),
    )


def error_place(exc: BaseException) -> str:
    """Return where an error was raised: the innermost place in a user's own code, else the innermost."""
    return _own_place(exc) or _place(exc)


def _place(exc: BaseException, excluded: Set[str] = frozenset()) -> str:
    """Return file and line where an error was raised: the innermost without some parts in the file's path."""
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if excluded.isdisjoint(Path(frame.filename).parts)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _own_place(exc: BaseException) -> str:
    """Return the innermost place in code that is neither sacpipe's nor an installed package's."""
    return _place(exc, {"site-packages", "sacpipe", "importlib", "<frozen importlib._bootstrap>"})


@contextlib.contextmanager
def task_errors(task: str, options: Mapping[str, Any], owner: object = None) -> Iterator[None]:
    """Turn every error of a task's constructor or first step into an error with the task's message.

    Args:
        task: Task suite and id.
        options: Keyword arguments of the task.
        owner: The task's class, if it is known: see `retryable_errors`.

    Raises:
        ConfigError: the task refuses its options, or cannot be made on this machine.
        SimulatorError: the task's error is one after which a retry may succeed.
    """
    try:
        yield
    except SacpipeError:
        raise
    except (Exception, SystemExit) as exc:
        retryable = retryable_errors(task, owner)
        place = _own_place(exc) if foreign_text(exc) else _place(exc)
        reason = f"{describe_error(exc)}{place}"
        if isinstance(exc, ModuleNotFoundError) and not place:
            reason += "; modules are found in the project's folder, the one with dvc.yaml, and in packages"
        if isinstance(exc, retryable):
            raise SimulatorError(f"task '{task}' cannot be made now: {reason}", retryable=True) from exc
        if options and not isinstance(exc, (SyntaxError, ImportError)):  # which no option causes
            found = ", ".join(f"{key}={value!r}" for key, value in sorted(options.items()))
            message = f"task.options: task '{task}' refuses {found}: {reason}"
        else:
            message = f"task '{task}' cannot be made here: {reason}"
        raise ConfigError(message) from exc
