"""Train, run on a robot that differs from the simulated one, record, ingest, fine-tune: returns improve."""

import shutil

import numpy as np
import pytest
from factories import make_point_mass
from small_project import environment, make_project, small_params, with_values

from sacpipe.core.seeding import episode_seed
from sacpipe.evaluation.episodes import evaluate, from_task_units
from sacpipe.params.model import Params
from sacpipe.project.dvc.commands import DvcStore
from sacpipe.project.extend import extend_finished_run
from sacpipe.project.workspace import Workspace
from sacpipe.robot.control_loop import Clock, run_loop
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.recording.recorder import Recorder
from sacpipe.robot.runtime import Runtime
from sacpipe.simulation.drive import RECORDER_SETTINGS, Disturbance, SimulatedRobot

STEPS, MORE, ROBOT_STEPS = 2000, 2000, 3000
QUICK = {
    "hidden_dims": [64, 64],
    "discount": 0.97,
    "critic_learning_rate": 3.0e-3,
    "actor_learning_rate": 3.0e-3,
    "learning_rate": 3.0e-3,
    "batch_size": 64,
}


class VirtualTime:
    """A clock that advances by a microsecond when it is read, and by the duration of a sleep."""

    def __init__(self):
        self.now_ns = 10**12

    def read(self):
        self.now_ns += 1_000
        return self.now_ns

    def sleep(self, seconds):
        self.now_ns += round(seconds * 1e9)


def robot_environment():
    """The point mass with its actuators mounted a quarter turn round."""
    return make_point_mass(actuator_angle_deg=90.0).make()


def return_on_robot(bundle):
    policy, environment = OnnxPolicy(bundle), robot_environment()
    episodes = evaluate(
        from_task_units(policy.act, environment.spec),
        environment,
        [episode_seed(7, "robot", number) for number in range(30)],
    )
    environment.close()
    return float(np.mean([episode.episode_return for episode in episodes]))


def let_it_run(bundle, recordings):
    """Run a bundle on the robot, whose actuators are not exact, and record it."""
    clock, simulator = VirtualTime(), robot_environment()
    runtime = Runtime(OnnxPolicy(bundle), clock_ns=clock.read)
    disturbance = Disturbance(noise=0.0, drop_out=0.0, delay_steps=0, not_a_number=0.0, actuator_noise=0.25)
    with Recorder(runtime, recordings, RECORDER_SETTINGS) as recorder:
        robot = SimulatedRobot(simulator, runtime, disturbance, 1, recorder, clock.read)
        run_loop(
            runtime,
            robot,
            period_s=simulator.spec.control_period_s,
            max_steps=ROBOT_STEPS,
            busy_wait_s=0.0,
            clock=Clock(clock.read, clock.sleep),
        )
    assert recorder.status.transitions > 0.9 * ROBOT_STEPS
    simulator.close()
    return recordings / "recording-000001"


@pytest.fixture
def trained(tmp_path, empty_ledger, monkeypatch):
    """A project whose policy was trained on the nominal point mass."""
    folder = make_project(tmp_path / "project")
    (folder / "params.yaml").write_text(small_params(steps=STEPS, **QUICK))
    (folder / ".sacpipe").mkdir()
    shutil.copy(empty_ledger, folder / ".sacpipe" / "mlflow.db")
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    make(folder)
    return folder


def make(folder):
    for stage in ("train", "export"):
        DvcStore(folder).reproduce(stage)


@pytest.mark.acceptance
def test_recordings_of_a_robot_improve_its_policy(trained, call, tmp_path):
    bundle, params = trained / "out" / "export" / "bundle", trained / "params.yaml"
    before = return_on_robot(bundle)
    recording = let_it_run(bundle, tmp_path / "recordings")
    ingested = call(trained, "pool", "ingest", str(recording), "--share", "1.0")
    assert ingested.code == 0, ingested.err
    params.write_text(with_values(params.read_text(), total_steps=STEPS + MORE))
    extend_finished_run(Workspace(trained))
    make(trained)
    assert Params.load(params).replay.initial_pool.share == 1.0
    after = return_on_robot(bundle)
    assert before < -60.0
    assert after > -15.0
