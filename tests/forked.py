"""Programs in copies of one process that has imported PyTorch: its import takes a second and a half of each program.

`python forked.py MODULE...` imports the modules, and then runs one program for every line that it reads. A copy has
the arguments, the environment, the folder and the search path of a new process, and ends as one does.
"""

import atexit
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

TORCH = ("numpy", "pydantic", "ruamel.yaml", "torch")
"""Every command that knows a task and every stage loads these. Others would be taken for what a task needs."""


class Server:
    """One process that copies itself, in the environment of stages: their arithmetic is decided at its start."""

    def __init__(self, modules):
        from sacpipe.core.fixed_arithmetic import fixed_environment  # the copies import that of their folder

        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=fixed_environment(os.environ),
            start_new_session=True,  # Ctrl-C is for the tests; their end is this process's too
        )
        atexit.register(self._end)

    def _end(self):
        self._process.stdin.close()
        self._process.wait()

    def run(self, arguments, folder, environment):
        """Run `python ARGUMENTS`, which begin with `-m MODULE` or with a file; return what `subprocess.run` does."""
        with tempfile.TemporaryDirectory() as outputs:
            paths = [Path(outputs, name) for name in ("out", "err")]
            ordered = {
                "arguments": [str(one) for one in arguments],
                "folder": str(folder),
                "environment": environment,
                "outputs": [str(path) for path in paths],
            }
            self._process.stdin.write(json.dumps(ordered) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(arguments, code, *(path.read_text() for path in paths))


@cache
def server(*modules):
    """Return the process that has imported these modules; it ends with this one."""
    return Server(modules)


def run_forked(arguments, folder, environment, modules=TORCH):
    """Run a program as `Server.run` does."""
    return server(*modules).run(arguments, folder, environment)


def _become(arguments, folder, environment, outputs):
    """Make this copy the process that was ordered."""
    for descriptor, path in enumerate([os.devnull, *outputs]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(folder)
    inherited = _search_path(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.path[:] = [*_search_path(environment), *(path for path in sys.path if path not in inherited)]
    sys.orig_argv = [sys.executable, *arguments]
    importlib.invalidate_caches()


def _search_path(environment):
    """Return the folders that PYTHONPATH names."""
    named = environment.get("PYTHONPATH", "").split(os.pathsep)
    return [str(Path(path).absolute()) for path in named if path]


def _run(arguments):
    """Run the program in this process, as its main module."""
    is_module = arguments[0] == "-m"
    program, *words = arguments[is_module:]
    sys.argv = [program, *words]
    if is_module:
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(program).absolute().parent))
        runpy.run_path(program, run_name="__main__")


def main(modules):
    """Import the modules, and copy this process for every line."""
    sys.path.pop(0)  # the folder of this file
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        ordered = json.loads(line)
        process = os.fork()
        if process == 0:
            _become(**ordered)
            _run(ordered["arguments"])
            return
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
