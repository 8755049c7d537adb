"""An environment in a process of its own: the same bits, the same errors, and no process left behind."""

import os
import select
import signal
import subprocess
import sys

import numpy as np
import pytest
from factories import make_point_mass

from sacpipe.core.errors import ConfigError, SimulatorError
from sacpipe.envs.environment_process import EnvironmentProcess
from sacpipe.envs.gymnasium import GymnasiumTask
from sacpipe.training.environments import LocalEnvironment

WATCHED = make_point_mass(metrics=("distance_m", "is_success"), image_size=8, max_episode_steps=5)
"""A task with a vector, an image and metrics."""


def slow(**options):
    return GymnasiumTask(suite="gymnasium", id="slow_task:Slow-v0", options=options, metrics=())


@pytest.fixture
def start():
    """Start processes, and end them after the test."""
    found = []

    def make(task, spec=None):
        found.append(EnvironmentProcess(task, task.make().spec if spec is None else spec, 1))
        return found[-1]

    yield make
    for process in found:
        process.close()


def has_ended(pid, timeout_s):
    """Wait for the end of a process that need not be a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


def episode(environment, seed):
    """Run an episode; return the bits of everything that it gave."""
    environment.begin_episode(seed)
    actions = np.random.default_rng(seed)
    observations, found = [environment.first_observation()], []
    while True:
        environment.begin_step(actions.uniform(-1.2, 1.2, 2).astype(np.float32))
        step = environment.finish_step()
        observations.append(step.observation)
        found.append((step.reward, step.terminated, step.truncated, dict(step.metrics)))
        if step.terminated or step.truncated:
            break
    arrays = [array.tobytes() for observation in observations for array in observation.values()]
    return found, arrays


def begin_second_step(process, seed):
    """Begin the step at which something happens."""
    process.begin_episode(seed)
    process.first_observation()
    process.begin_step(np.zeros(1, dtype=np.float32))
    process.finish_step()
    process.begin_step(np.zeros(1, dtype=np.float32))


@pytest.mark.slow
def test_a_process_gives_the_bits_of_an_environment_here(start):
    process, local = start(WATCHED), LocalEnvironment(WATCHED.make())
    for seed in (3, 2**31 - 1, 3):
        assert episode(process, seed) == episode(local, seed)


@pytest.mark.slow
def test_an_error_of_the_task_comes_with_its_message(start):
    process = start(slow(then="raise"))
    begin_second_step(process, 4)
    with pytest.raises(
        SimulatorError, match=r"episode 1 \(seed 4\), step 2: the task's step\(\) raised"
    ) as caught:
        process.finish_step()
    assert caught.value.retryable


@pytest.mark.slow
def test_a_task_that_cannot_be_made_there_is_an_error_of_its_options(start):
    process = start(slow(unknown=1), spec=slow().make().spec)
    process.begin_episode(0)
    with pytest.raises(ConfigError, match=r"refuses unknown=1"):
        process.first_observation()


@pytest.mark.slow
def test_a_task_that_could_not_be_made_there_says_so_after_its_process_has_ended(start):
    process = start(slow(unknown=1), spec=slow().make().spec)
    assert has_ended(process._child.pid, 60.0)
    with pytest.raises(ConfigError, match=r"refuses unknown=1"):
        process.begin_episode(0)


@pytest.mark.slow
@pytest.mark.parametrize(("then", "reason"), [("die", "signal SIGKILL"), ("leave", "exit code 7")])
def test_a_process_that_dies_is_an_error_that_may_be_retried(start, then, reason):
    process = start(slow(then=then))
    begin_second_step(process, 0)
    with pytest.raises(
        SimulatorError, match=f"the process of task 'gymnasium/Slow-v0' died: {reason}"
    ) as caught:
        process.finish_step()
    assert caught.value.retryable
    with pytest.raises(SimulatorError, match=f"died: {reason}"):
        process.begin_step(np.zeros(1, dtype=np.float32))


@pytest.mark.slow
def test_a_process_that_does_not_answer_is_killed_and_may_be_retried():
    task = slow(then="hang")
    process = EnvironmentProcess(task, task.make().spec, 1, answer_s=30.0)
    process.begin_episode(0)
    process.first_observation()
    process.begin_step(np.zeros(1, dtype=np.float32))
    process.finish_step()
    process.begin_step(np.zeros(1, dtype=np.float32))
    process._connection.settimeout(0.2)
    with pytest.raises(SimulatorError, match="did not answer for 30 s and was killed") as caught:
        process.finish_step()
    assert caught.value.retryable
    assert has_ended(process._child.pid, 0.0)


@pytest.mark.slow
def test_closing_ends_the_process_though_answers_wait(start):
    process = start(make_point_mass(image_size=256))  # two images are more than a socket's buffer
    process.begin_episode(0)
    process.begin_episode(0)
    process.close()
    assert process._child.returncode == 0
    process.close()


PROGRAM = """
import signal, sys
import numpy as np
from sacpipe.envs.environment_process import EnvironmentProcess
from sacpipe.envs.gymnasium import GymnasiumTask

task = GymnasiumTask(suite="gymnasium", id="slow_task:Slow-v0", options={"then": sys.argv[1]}, metrics=())
process = EnvironmentProcess(task, task.make().spec, 1)
process.begin_episode(0)
process.first_observation()
process.begin_step(np.zeros(1, dtype=np.float32))
process.finish_step()
process.begin_step(np.zeros(1, dtype=np.float32))
print(process._child.pid, flush=True)
signal.pause()
"""


@pytest.mark.slow
@pytest.mark.parametrize("then", ["nothing", "hang"])
def test_no_process_outlives_a_killed_run(then):
    """Neither one that waits for a request nor one whose simulator hangs; and both ignore Ctrl-C."""
    search_path = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, then],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": search_path},
    ) as run:
        pid = int(run.stdout.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        assert not has_ended(pid, 0.2)
        run.kill()
    assert has_ended(pid, 20.0)
