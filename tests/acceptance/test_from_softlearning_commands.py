"""Every command of docs/from-softlearning.md is run as it is printed, in a small project for each section.

Runs are made short after `params.yaml` is written (short_command.py). A file that a command of a table prints is
trained with as well.
"""

import shlex
import subprocess
import sys

import pytest
import short_command
from ruamel.yaml import YAML
from small_project import environment
from softlearning_page import commands, sections

import sacpipe
from sacpipe.training.config import TrainParams

pytestmark = pytest.mark.acceptance

PAGE = sections()


@pytest.fixture
def shell(project, tmp_path):
    """Run a script in the project by bash, where `sacpipe` is short_command.py: script -> its output."""
    program = tmp_path / "bin" / "sacpipe"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {short_command.__file__} "$@"\n')
    program.chmod(0o755)
    clean = environment()
    variables = clean | {"PATH": f"{program.parent}:{clean['PATH']}", "RAN": str(tmp_path / "ran")}

    def run(script):
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=project,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{script}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
        return result.stdout

    return run


def train_briefly(text, folder):
    """Train with the sections of a printed params.yaml that training reads."""
    tree = YAML(typ="safe").load(short_command.shortened(text, total_steps=64, random_steps=48))
    params = TrainParams.parse({name: tree[name] for name in TrainParams.model_fields})
    sacpipe.train(params, folder)
    assert (folder / "policy.safetensors").is_file()


def in_loops(script):
    """Return how often the calls of a script's loop are repeated, beyond once, by their number."""
    body = script.partition("; do\n")[2].partition("\ndone")[0]
    times = len(script.partition(" in ")[2].partition(";")[0].split())
    return (times - 1) * len(commands(body)) if body else 0


@pytest.mark.parametrize("title", PAGE)
def test_commands_of_the_section_run_in_their_order(title, shell, tmp_path):
    expected = 0
    for number, script in enumerate(PAGE[title]):
        said = shell(script)
        expected += len(commands(script)) + in_loops(script)
        if script.startswith("sacpipe params") and "--output" not in script:
            train_briefly(said, tmp_path / f"trained-{number}")
    log = tmp_path / "ran"
    ran = [shlex.split(line) for line in log.read_text().splitlines()]
    assert len(ran) == expected
