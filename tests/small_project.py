"""A project of its own for the pipeline's tests: this code, with a small point-mass run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from forked import run_forked
from repository import ROOT

from sacpipe.core.config import Config
from sacpipe.core.fixed_arithmetic import fixed_environment
from sacpipe.params.defaults import params_text
from sacpipe.params.yaml_text import scalar

SMALL = {
    "hidden_dims": [16, 16],
    "episodes": 4,
    "bootstrap_resamples": 200,
    "golden_steps": 8,
    "max_s": 0.5,
    "min_return_mean": -60.0,
}
"""Values of params.yaml for a run of seconds."""
RULES = ("floor", "parity", "lineage")
"""Rules of the release gate that such a run is judged by: they run no episodes of another kind."""
SHORT = {
    "hidden_dims": [32, 32],
    "episodes": 2,
    "evaluation_episodes": 1,
    "bootstrap_resamples": 100,
    "golden_steps": 8,
    "max_s": 0.2,
}
"""Values beside a run's 2,000 steps, for tasks whose simulators are slow."""


IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in {"NAME": "tests", "EMAIL": "tests@localhost"}.items()
}
"""Variables that say to git who commits."""


def small_params(*, steps=200, algorithm="sac", **values):
    """Return the text of params.yaml for a run of seconds; each value replaces that of the key of its name."""
    text = params_text("point_mass/point-mass-v0", steps=steps, algorithm=algorithm)
    return with_values(with_few_rules(text), **SMALL | values)


def with_values(text, **values):
    """Return the text of a params.yaml with other values; each key is on one line, or in one rule of the gate."""
    for key, value in values.items():
        text, count = re.subn(rf"(?m)^( *{key}:) .*?(  #.*)?$", rf"\1 {scalar(value)}\2", text)
        if not count:
            text, count = re.subn(rf"({{.*\b{key}:) [^,}}]*", rf"\1 {scalar(value)}", text)
        assert count == 1, key
    return text


def with_few_rules(text):
    """Return the text of a params.yaml whose release gate has the rules of `RULES` alone."""
    head, section = re.split(r"(?m)^(?=release:)", text)
    lines = [
        line
        for line in section.splitlines()
        if "{name: " not in line or re.search(r"{name: (\w+)", line)[1] in RULES
    ]
    return head + "\n".join(lines) + "\n"


def with_release(text, *rules, **values):
    """Return the text of a params.yaml with another release section; each rule is a line of YAML."""
    (name,) = re.findall(r"(?m)^  model_name: (\S+)", text)
    section = {"model_name": name, "mode": "enforce", "auto": False} | values
    lines = [f"  {key}: {scalar(value)}" for key, value in section.items()]
    lines += ["  rules:", *(f"    - {rule}" for rule in rules)] if rules else ["  rules: []"]
    return re.sub(r"(?m)^release:.*\n(  .*\n)+", "\n".join(["release:", *lines]) + "\n", text)


def git(folder, *arguments):
    """Run git, and return what it prints."""
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, env=os.environ | IDENTITY
    ).stdout.strip()


def commit(folder):
    """Commit everything, as the summary of a run says; return the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a candidate")
    return git(folder, "rev-parse", "HEAD")


_GRAPHS = []


def _locked_graph(folder):
    """Return dvc.yaml with the lines of the small project's task, which are the same in every copy."""
    if not _GRAPHS:
        sacpipe(folder, "lock", check=0)  # a process of its own: this one has opened files of other tasks
        _GRAPHS.append((folder / "dvc.yaml").read_text())
    return _GRAPHS[0]


def make_project(folder):
    """Copy what git tracks here, with small params and without a result, and commit it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        own = name == "dvc.lock" or name.startswith(("tests/", "results/", "release/"))
        if not own and (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    (folder / "params.yaml").write_text(small_params())
    (folder / "dvc.yaml").write_text(_locked_graph(folder))
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "start")
    return folder


def dvc(folder, *arguments):
    """Run DVC itself, as an operator does."""
    command = [sys.executable, "-P", "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, env=environment()
    ).stdout


class Outcome(Config):
    """What a command gave back."""

    code: int
    out: str
    err: str


def environment():
    """Return this process's environment with this Python first, git's identity, and no address of another test's tools."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))
    }
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    return clean | own | IDENTITY


def stage(folder, name, env=None):
    """Run a stage as DVC does, in a process of its own; one in the environment that the stage would start again in."""
    ran = fixed_environment(environment() | (env or {}))
    return run_forked(["-m", f"pipelines.stages.{name}"], folder, ran)


def sacpipe(folder, *arguments, check=None, env=None):
    """Run the command line in a process of its own."""
    result = run_forked(["-m", "sacpipe.cli.main", *arguments], folder, environment() | (env or {}))
    assert "Traceback" not in result.stderr, result.stderr
    if check is not None:
        assert result.returncode == check, result.stdout + result.stderr
    return Outcome(code=result.returncode, out=result.stdout, err=result.stderr)
