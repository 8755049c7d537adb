"""Extend a finished run: params.yaml names it, so that git and dvc.lock hold the decision.

The longer run is another run. Its stage key differs from that of the run it continues.
"""

import re

from sacpipe.core.errors import ConfigError
from sacpipe.core.files import write_text
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.stage_key import DiskTree, StageInputs, locked_inputs, stage_inputs
from sacpipe.project.workspace import Workspace
from sacpipe.training.checkpoint import intact_checkpoints
from sacpipe.training.extension import changeable_keys, param_digests, unextendable


def extend_finished_run(workspace: Workspace) -> str:
    """Write the key of dvc.lock's run to `training.extends` of params.yaml; return a line for the operator.

    Raises:
        ConfigError: no run is finished, it is not on this machine, other inputs than its length and its
            initial pool have changed since, or `training.total_steps` is not above its steps.
    """
    entry = read_lock(workspace.dvc_lock).get("train")
    if entry is None:
        raise ConfigError(
            "nothing to extend: dvc.lock holds no finished training. Train with `sacpipe run` first."
        )
    finished = locked_inputs(entry)
    wanted = stage_inputs(DiskTree(workspace.root), "train")
    _refuse_other_changes(finished, wanted)
    steps = _finished_steps(workspace, finished)
    more = wanted.params["params.yaml"]["training"]["total_steps"]
    if more <= steps:
        raise ConfigError(
            f"training.total_steps is {more} and the finished run has {steps}. Raise it in params.yaml first."
        )
    if not (workspace.work(finished.key) / "checkpoints").is_dir():
        raise ConfigError(
            f"the finished run's checkpoint, work/{finished.key}, is not on this machine. Extend it where it "
            "ran, or run without --extend to train from the first step."
        )
    _write(workspace, finished.key)
    return f"extending the run {finished.key[:12]} from {steps} to {more} steps; written to params.yaml"


def _finished_steps(workspace: Workspace, finished: StageInputs) -> int:
    """Return the steps of a finished run: its `total_steps`, or fewer where a return ended it."""
    training = finished.params["params.yaml"]["training"]
    steps: int = training["total_steps"]
    if training.get("stop_at_return") is None:
        return steps
    found = next(intact_checkpoints(workspace.work(finished.key) / "checkpoints", finished.key), None)
    return steps if found is None else found.state.env_steps


def _refuse_other_changes(finished: StageInputs, wanted: StageInputs) -> None:
    # `unextendable` names the params.
    changed = [name for name in finished.differences(wanted) if name != "params"]
    digests = (param_digests(inputs.params["params.yaml"]) for inputs in (finished, wanted))
    changed += unextendable(*digests)
    if changed:
        raise ConfigError(
            f"the finished run cannot be extended: {', '.join(changed)} changed since. Only "
            f"{changeable_keys()} may; run without --extend to train from the first step."
        )


def _write(workspace: Workspace, key: str) -> None:
    """Replace the value of `extends:` and keep every comment."""
    text = workspace.params.read_text(encoding="utf-8")
    changed, count = re.subn(r"(?m)^( +extends:)[^#\n]*", rf"\1 {key}  ", text)
    if count != 1:
        raise ConfigError(
            f"{workspace.params}: expected one line `extends:` under training, found {count}. "
            "`sacpipe params TASK` prints a complete file."
        )
    write_text(workspace.params, changed)
