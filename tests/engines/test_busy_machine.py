"""Several threads on a machine that others use: one warning, and the same updates."""

import logging
import time
from types import SimpleNamespace

import pytest

from sacpipe.engines import torch_engine
from sacpipe.engines.torch_engine import WatchedLearner, busy_note


@pytest.mark.parametrize(
    ("threads", "load", "cores", "is_busy"),
    [
        (2, 0.3, 2, False),  # a quiet machine
        (2, 1.4, 2, False),  # this run alone
        (2, 2.5, 2, True),
        (2, 10.0, 2, True),
        (4, 0.0, 2, True),  # more threads than cores
        (4, 3.0, 8, False),
        (8, 3.0, 8, True),
    ],
)
def test_threads_are_compared_with_the_cores_that_others_leave(threads, load, cores, is_busy):
    assert (busy_note(threads, load, cores) is not None) == is_busy


def test_free_cores_are_never_less_than_none():
    assert busy_note(2, 10.0, 2) == "0.0 of 2 cores are free (load average 10.0)"


def made(update, monkeypatch, load=0.0, batches=200):
    monkeypatch.setattr(torch_engine, "_load", lambda: (load, 2))
    watched = WatchedLearner(SimpleNamespace(update=update), 2)
    for number in range(batches):
        watched.update(number)


def test_a_busy_machine_is_named_once_before_the_first_update(monkeypatch, caplog):
    seen = []
    with caplog.at_level(logging.WARNING):
        made(lambda batch: seen.append((batch, len(caplog.records))), monkeypatch, load=10.0)
    assert seen == [(number, 1) for number in range(200)]
    assert "engine.num_threads is 2, but 0.0 of 2 cores are free" in caplog.text
    assert "Set engine.num_threads to 1" in caplog.text


def test_updates_that_get_little_of_a_core_are_named_once(monkeypatch, caplog):
    monkeypatch.setattr(time, "process_time", lambda: 0.1 * time.perf_counter())
    with caplog.at_level(logging.WARNING):
        made(lambda _: sum(range(1000)), monkeypatch)
    assert len(caplog.records) == 1
    assert "the updates had 0.1 of one core" in caplog.text


def test_updates_on_free_cores_are_quiet(monkeypatch, caplog):
    monkeypatch.setattr(time, "process_time", lambda: 1.7 * time.perf_counter())
    with caplog.at_level(logging.WARNING):
        made(lambda _: None, monkeypatch)
    assert not caplog.records
