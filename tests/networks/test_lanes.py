"""Lanes run every job once, side by side, and hand on what went wrong."""

import threading

import pytest

from sacpipe.networks.lanes import Lanes


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("num_jobs", [0, 1, 2, 5])
def test_every_job_runs_once_before_run_returns(num_threads, num_jobs):
    lanes, done = Lanes(num_threads), []
    for _ in range(20):
        done.clear()
        lanes.run(*(lambda index=index: done.append(index) for index in range(num_jobs)))
        assert sorted(done) == list(range(num_jobs))


def test_two_lanes_run_at_the_same_time():
    """Each job waits for the other: one thread alone would never get past the barrier."""
    barrier = threading.Barrier(2)
    Lanes(2).run(*[lambda: barrier.wait(timeout=20.0)] * 2)


def test_one_thread_is_the_callers():
    seen = []
    Lanes(1).run(*[lambda: seen.append(threading.current_thread())] * 3)
    assert set(seen) == {threading.current_thread()}


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_comes_back_when_all_have_ended_and_the_lanes_go_on(failing):
    lanes, done = Lanes(2), []

    def job(index):
        if index == failing:
            raise ValueError(f"job {index}")
        done.append(index)

    with pytest.raises(ValueError, match=f"job {failing}"):
        lanes.run(lambda: job(0), lambda: job(1))
    assert done == [1 - failing]
    lanes.run(lambda: job(2), lambda: job(3))
    assert sorted(done[1:]) == [2, 3]
