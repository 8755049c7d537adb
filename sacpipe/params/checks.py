"""What only a whole params.yaml and its task can tell: refusals of later stages, found before the first step.

As a module (`python -m sacpipe.params.checks FILE`) it checks a file, and exports the policy as it is before
training; where it refuses, it writes the message to stderr and exits with 2. The train stage starts it so: if
it imported later sections, it would depend on them.
"""

import resource
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from sacpipe.bundle.contract import check_runtime
from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.core.fence import first_error
from sacpipe.envs.base import require_time_limit
from sacpipe.export.bundle import check_export
from sacpipe.export.opset import check_opset
from sacpipe.networks.policy_file import encode_policy
from sacpipe.params.model import Params
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.training.memory import available_bytes

_Result = TypeVar("_Result")


def check_params(params: Params, spec: EnvSpec) -> None:
    """Refuse what the stages after training would refuse, as far as that is known without a learner.

    Args:
        params: The whole file.
        spec: Specification of its task.

    Raises:
        ConfigError: export, evaluation or the robot's runtime would fail; names the key.
    """
    steps, recorded = params.export.golden_steps, params.training.total_steps
    if steps > recorded:
        raise ConfigError(
            f"params.yaml: export.golden_steps: expected at most training.total_steps, {recorded}, because "
            f"the golden sequence is the beginning of the pool; found {steps}. Lower it or train longer."
        )
    check_opset(params.export.opset_version)
    require_time_limit(spec)
    check_runtime(params.runtime, spec)


def check_members(params: Params, spec: EnvSpec) -> None:
    """Build the sampler, the learner and its engine, and export the policy as it is before training.

    Args:
        params: The whole file.
        spec: Specification of its task.

    Raises:
        ConfigError: a member cannot be built for this task, or its policy cannot be written or exported;
            names the section.
    """
    learner = _checked("algorithm", lambda: params.algorithm.build(spec, params.seed))
    _checked("engine", lambda: params.engine.attach(learner))
    _checked("replay.sampler", lambda: params.replay.sampler.build(spec, learner.discount))
    policy = _checked("algorithm", learner.policy)
    _checked("algorithm", lambda: encode_policy(policy))
    _checked("algorithm", lambda: check_export(policy.network, spec, params.export))


def _checked(section: str, work: Callable[[], _Result]) -> _Result:
    """Do some work of a member, whose error names the section of params.yaml that chose it.

    Raises:
        ConfigError: the work raised any error.
    """
    found: list[_Result] = []
    error = first_error(lambda: found.append(work()))
    if error is None:
        return found[0]
    reason = str(error) if isinstance(error, SacpipeError) else f"{type(error).__name__}: {error}"
    text = " ".join(reason.split())
    is_named = text.startswith(("params.yaml:", f"{section}.", "export."))
    raise ConfigError(text if is_named else f"params.yaml: {section}: {text.rstrip('.')}.") from error


def limit_memory() -> None:
    """Let an allocation of more memory than this machine has fail: its system would end processes."""
    available = available_bytes()
    if available is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = available if hard == resource.RLIM_INFINITY else min(available, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def main() -> int:
    """Check the file that the command line names; return the exit code."""
    path = Path(sys.argv[1])
    try:
        limit_memory()
        params = Params.load(path)
        with closing(params.task.make()) as environment:
            check_params(params, environment.spec)
            check_members(params, environment.spec)
    except SacpipeError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
