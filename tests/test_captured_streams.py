"""No library closes the files into which pytest captures the output of all tests."""

import logging.config
import os

import absl.logging


def test_configuring_logging_anew_closes_no_stream(capsys):
    stream = absl.logging.get_absl_handler().python_handler.stream
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    assert not stream.closed


def test_the_next_test_has_its_streams(capfd):
    os.write(1, b"still captured\n")
    assert capfd.readouterr().out == "still captured\n"
