"""Trains in a child process whose threads and numeric settings are pinned: a notebook gets a stage's bytes.

The bytes of a product depend on the number of threads and on whose kernels multiply. Both are settings of a
process; changed in a notebook, they would change the notebook's other numbers and its speed. Some are fixed
when a process starts (`sacpipe/core/fixed_arithmetic.py`). As a module (`python -m sacpipe.training.child
DESCRIPTOR`) this file is that child. It reads one JSON object from stdin and takes the end of stdin as a
request to stop, so that it never outlives its parent. It writes JSON lines to DESCRIPTOR, since simulators
print to stdout: {"env_steps", "latest_return"}, at last {"report"} or {"error", "message"}.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from sacpipe.core.error_fields import error_fields, error_of
from sacpipe.core.errors import ConfigError, InterruptedRunError, SacpipeError, StageError
from sacpipe.core.files import canonical_json, sha256_bytes
from sacpipe.core.fixed_arithmetic import fixed_environment
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import Progress, train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.outputs import TrainingReport, publish
from sacpipe.training.resume import open_run
from sacpipe.version import __version__

_MIN_SECONDS_BETWEEN_LINES = 0.5
_MAX_STDERR_LINES = 20


def train_in_child(
    params: TrainParams | Mapping[str, Any] | Path | str,
    folder: Path | str,
    *,
    initial_pool: Path | str | None = None,
    warm_start: Path | str | None = None,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train a policy and write the outputs of the train stage into a folder: the same bytes as the stage's.

    Called again with the same params and folder after an interruption, it continues from the last checkpoint.

    Args:
        params: The sections seed, task, algorithm, engine, replay and training: a model, a mapping, or the
            path of a params.yaml. Other sections are ignored.
        folder: Receives policy.safetensors, pool/, curve.csv, metrics.json and metrics.jsonl; its subfolder
            work/ holds unfinished work.
        initial_pool: Folder of the pool that `replay.initial_pool` names, if it names one.
        warm_start: Folder of the weights that `training.warm_start` names, if it names some.
        progress: Receives the present step and the latest return, about twice a second.

    Raises:
        ConfigError: a param is wrong.
        InterruptedRunError: Ctrl-C; a checkpoint was written.
        StageError: the child process died.
        SacpipeError: what the training raised, e.g. DivergenceError.
    """
    tree = _as_params(params, initial_pool, warm_start).as_tree()
    folders = [path and str(path) for path in (folder, initial_pool, warm_start)]
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, encoding="utf-8") as answers:
        try:
            child = _start(write_end)
        finally:
            os.close(write_end)
        with child:
            stderr_tail = _forward_stderr(child)
            try:
                _send(child, {"params": tree, "folders": folders})
                answer = _receive(answers, progress)
            except KeyboardInterrupt as exc:
                child.send_signal(signal.SIGTERM)
                child.wait()
                raise InterruptedRunError(
                    "training was interrupted. A checkpoint is kept; the same call continues from it."
                ) from exc
    return _result(answer, child.returncode, " ".join(stderr_tail))


def _as_params(
    params: TrainParams | Mapping[str, Any] | Path | str,
    initial_pool: Path | str | None,
    warm_start: Path | str | None,
) -> TrainParams:
    if isinstance(params, Mapping):
        sections = {name: params[name] for name in TrainParams.model_fields if name in params}
        params = TrainParams.parse(sections, source="params")
    elif not isinstance(params, TrainParams):
        params = TrainParams.load_sections(Path(params))
    if params.training.extends is not None:
        raise ConfigError(
            "training.extends: expected null, as only `sacpipe run --extend` continues a finished run; found "
            f"{params.training.extends[:12]}. Set it to null."
        )
    if params.replay.initial_pool is not None and initial_pool is None:
        raise ConfigError(
            "replay.initial_pool: params name a pool, but no folder was passed. Pass initial_pool=FOLDER."
        )
    if params.training.warm_start is not None and warm_start is None:
        raise ConfigError(
            "training.warm_start: params name weights, but no folder was passed. Pass warm_start=FOLDER."
        )
    return params


def _start(descriptor: int) -> subprocess.Popen[str]:
    """Start the child in a session of its own: the Ctrl-C of a terminal reaches the parent alone."""
    search_path = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", "sacpipe.training.child", str(descriptor)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=fixed_environment(os.environ | {"PYTHONPATH": search_path}),
        pass_fds=(descriptor,),
        start_new_session=True,
        text=True,
    )


def _forward_stderr(child: subprocess.Popen[str]) -> deque[str]:
    """Copy the child's stderr to this process's as it comes; return the last lines, for an error message."""
    tail: deque[str] = deque(maxlen=_MAX_STDERR_LINES)

    def forward(stream: IO[str]) -> None:
        for line in stream:
            tail.append(line.strip())
            sys.stderr.write(line)

    if child.stderr is not None:
        threading.Thread(target=forward, args=(child.stderr,), daemon=True).start()
    return tail


def _send(child: subprocess.Popen[str], request: dict[str, Any]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # it died; its exit code tells more
            child.stdin.write(canonical_json(request) + "\n")
            child.stdin.flush()


def _receive(answers: IO[str], progress: Progress | None) -> dict[str, Any]:
    """Pass progress on until the child closes the pipe; return its last answer."""
    answer: dict[str, Any] = {}
    for line in answers:
        answer = json.loads(line)
        if progress is not None and "env_steps" in answer:
            progress.update(answer["env_steps"], answer["latest_return"])
    return answer


def _result(answer: dict[str, Any], exit_code: int, stderr_tail: str) -> TrainingReport:
    if "report" in answer:
        return TrainingReport.parse(answer["report"])
    if "error" in answer:
        raise error_of(answer)
    reason = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    raise StageError(
        f"the training process died: {reason}. {stderr_tail[-400:]} The last checkpoint is kept; the same "
        "call continues from it."
    )


class _Answers:
    """Writes JSON lines to the parent; progress at most about twice a second."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._last_s = file, 0.0

    def write(self, answer: Mapping[str, Any]) -> None:
        """Write one line; a parent that is gone is no error, as stdin says the same."""
        with contextlib.suppress(BrokenPipeError):
            self._file.write(json.dumps(answer) + "\n")
            self._file.flush()

    def update(self, env_steps: int, latest_return: float | None) -> None:
        """Report the present step; see `sacpipe.training.loop.Progress`."""
        now = time.monotonic()
        if now - self._last_s >= _MIN_SECONDS_BETWEEN_LINES:
            self._last_s = now
            self.write({"env_steps": env_steps, "latest_return": latest_return})


def _train(request: dict[str, Any], answers: _Answers, stop: threading.Event) -> TrainingReport:
    """Train what `train_in_child` asks for."""
    params = TrainParams.parse(request["params"])
    folder, pool, weights = (path and Path(path) for path in request["folders"])
    keep_freed_memory()
    pin_arithmetic(params.engine.num_threads)
    key = sha256_bytes(canonical_json({"params": request["params"], "version": __version__}).encode())
    run = open_run(params, folder / "work" / key, key, initial_pool=pool, warm_start=weights)
    try:
        train(run, stop.is_set, answers)
        answers.write({"env_steps": run.env_steps, "latest_return": run.evaluator.latest_return})
        return publish(run, folder)
    finally:
        run.close()


def main() -> int:
    """Train what stdin describes; return 0 if there is a report, else the error's exit code."""
    request = json.loads(sys.stdin.readline())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())

    def wait_for_end_of_stdin() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_end_of_stdin, daemon=True).start()
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as file:
        answers = _Answers(file)
        try:
            answers.write({"report": _train(request, answers, stop).as_tree()})
        except SacpipeError as exc:
            answers.write(error_fields(exc))
            return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
