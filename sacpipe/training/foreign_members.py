"""The boundary to the code of algorithms, engines and samplers: what they raise becomes one error of sacpipe.

Errors of sacpipe pass unchanged. KeyboardInterrupt passes too. SystemExit does not: a member that calls
`sys.exit(0)` would end a training as if it were done.
"""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

from sacpipe.core.errors import ConfigError, MemberError, SacpipeError
from sacpipe.envs.foreign_code import describe_error, error_place

FOREIGN = (Exception, SystemExit)
"""Classes of what a member may raise. A `try` around a call costs nothing where the call raises nothing."""


def raise_member_error(exc: BaseException, member: str, call: str, env_steps: int) -> NoReturn:
    """Raise what a member raised in a run, as an error that names the member and the step.

    Args:
        exc: The member's error.
        member: Kind and name, e.g. `algorithm 'my_package:Mine'`.
        call: What was called, e.g. `act()`.
        env_steps: Environment steps so far.

    Raises:
        SacpipeError: the member's error itself, where it is one.
        MemberError: it is another.
    """
    if isinstance(exc, SacpipeError):
        raise exc
    raise MemberError(
        f"step {env_steps}: {member}: {call} raised {describe_error(exc)}{error_place(exc)}. The last "
        "checkpoint is kept. Correct the member's code; sacpipe.testing has a contract test of each kind."
    ) from exc


@contextlib.contextmanager
def member_errors(member: str, call: str, env_steps: int) -> Iterator[None]:
    """Raise what a rare call of a member raises as `raise_member_error` does."""
    try:
        yield
    except FOREIGN as exc:
        raise_member_error(exc, member, call, env_steps)


@contextlib.contextmanager
def section_errors(section: str, name: str) -> Iterator[None]:
    """Turn every error of a member that is built into one that names its section of params.yaml.

    Args:
        section: E.g. `replay.sampler`.
        name: The member's name or import path.

    Raises:
        ConfigError: the member raised any error.
    """
    try:
        yield
    except FOREIGN as exc:
        raise ConfigError(_section_text(section, name, exc)) from exc


def _section_text(section: str, name: str, exc: BaseException) -> str:
    if not isinstance(exc, SacpipeError):
        reason = f"'{name}' raised {describe_error(exc)}{error_place(exc)}"
        return f"params.yaml: {section}: {reason}. Correct the member's code or its keys."
    text = " ".join(str(exc).split())
    if text.startswith("params.yaml:"):
        return text
    if text.startswith((f"{section}.", f"{section}:", "export.")):  # it names its key
        return f"params.yaml: {text}"
    return f"params.yaml: {section}: {text.rstrip('.')}."
