"""`sacpipe drive`: a simulated robot in real time, with and without disturbances."""

import json

import numpy as np
import pytest

from sacpipe.robot.recording.format import Recording


def driven(call, project, *arguments):
    seen = call(project, "drive", "--rate", "200", "--seconds", "0.3", "--json", *arguments)
    assert seen.code == 0, seen.err
    return json.loads(seen.out)


def test_an_undisturbed_robot_runs_its_policy_at_every_step(finished, call):
    found = driven(call, finished)
    loop = found["loop"]
    assert loop["steps"] == 60
    assert loop["verdicts"]["ok"] + loop["causes"].get("deadline_missed", 0) == 60
    assert set(loop["causes"]) <= {"deadline_missed"}
    assert 0 < loop["step_us"]["p50"] <= loop["step_us"]["p99"] <= loop["step_us"]["largest"]


@pytest.mark.parametrize(
    ("option", "value", "cause"),
    [
        ("--drop-out", "0.3", "observation_repeated"),
        ("--nan", "0.3", "observation_not_finite"),
        ("--delay", "3", "observation_old"),
        ("--noise", "5.0", "start_outside_envelope"),
    ],
)
def test_each_disturbance_triggers_its_guard(finished, call, option, value, cause):
    assert driven(call, finished, option, value)["loop"]["causes"][cause] > 0


def test_the_table_has_every_line(finished, call):
    seen = call(finished, "drive", "--rate", "500", "--seconds", "0.1")
    assert seen.code == 0
    for word in ("deadlines missed", "verdicts  ok", "p99.9", "step"):
        assert word in seen.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "rate_hz: Input should be greater than or equal to"),
        (["--seconds", "-1"], "seconds: Input should be greater than 0"),
        (["--nan", "2"], "not_a_number: Input should be less than or equal to 1"),
        (["--priority", "0"], "priority: expected 1 to 99"),
        (["nowhere"], "nowhere: expected a bundle's folder or a tar file, found none"),
        (["--option", "goal_radius_m"], "--option: expected NAME=VALUE"),
        (["--option", "colour=red"], "task.options: task 'point_mass/point-mass-v0' refuses"),
    ],
)
def test_bad_input_is_refused(finished, call, arguments, message):
    seen = call(finished, "drive", "--seconds", "0.1", *arguments)
    assert seen.code == 2
    assert message in seen.err


def test_its_transitions_can_be_recorded(finished, call, tmp_path):
    """Episodes end in the goal or at the time limit; the recording has an end for each that ended."""
    folder = tmp_path / "recordings"
    options = ["--actuator-noise", "0.5", "--option", "force_limit_n=2.0", "--record", str(folder)]
    found = driven(call, finished, "--rate", "1000", *options)
    recording = Recording.open(folder / "recording-000001")
    report = recording.check()
    assert found["recorder"]["transitions"] == report.transitions > 100
    assert report.terminations + report.truncations == len(found["episode_returns"])
    steps = recording.steps()
    assert steps["has_reward"].all()
    assert (steps["executed_action"] != steps["policy_action"]).any()
    assert np.abs(steps["executed_action"]).max() <= 2.0
