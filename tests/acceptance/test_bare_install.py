"""What `pip install .[serve]` gives, in an environment without anything else. `make acceptance` makes it."""

import json
import statistics
import subprocess
import urllib.request
from contextlib import contextmanager

import pytest
from repository import ROBOT, ROOT

pytestmark = pytest.mark.acceptance

BIN = ROOT / ".robot" / "bin"
TRAINING = ["torch", "mlflow", "dvc", "prefect", "gymnasium", "mujoco", "dm_control", "onnx", "starlette"]
MAX_IMPORT_S = 0.5


def run(folder, command, *arguments):
    """Run a command of the robot's environment where no source of ours is in reach."""
    words = [BIN / command, *arguments]
    return subprocess.run(
        words, cwd=folder, env={"HOME": str(folder)}, capture_output=True, text=True, check=False, timeout=60
    )


def python(folder, code):
    result = run(folder, "python", "-c", code)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@contextmanager
def serving(folder, command, *arguments):
    server = subprocess.Popen(
        [BIN / command, *arguments, "--port", "0"], cwd=folder, env={}, stderr=subprocess.PIPE, text=True
    )
    try:
        line = server.stderr.readline()
        assert " at http://" in line, line + server.stderr.read()
        yield server, line.split()[-1]
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


def test_nothing_of_training_came_along(tmp_path):
    code = f"import importlib.util as u, json; print(json.dumps([n for n in {TRAINING} if u.find_spec(n)]))"
    assert python(tmp_path, code) == []


def test_every_module_of_the_robots_part_can_be_imported(tmp_path):
    code = """
import importlib, json, pkgutil
packages = [importlib.import_module(f"sacpipe.{name}") for name in PACKAGES]
found = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
print(json.dumps([importlib.import_module(name).__file__ for name in found]))
"""
    files = python(tmp_path, f"PACKAGES = {ROBOT}{code}")
    assert len(files) > 60
    assert all(file.startswith(str(ROOT / ".robot")) for file in files)


@pytest.mark.parametrize("command", [("sacpipe", "serve"), ("python", "-m", "sacpipe.server")])
def test_a_bundle_is_served(tmp_path, bundles, command):
    with serving(tmp_path, *command, str(bundles[0])) as (server, address):
        tensor = {"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [0.5, 0.25, 0.0]}
        body = json.dumps({"inputs": [tensor]}).encode()
        with urllib.request.urlopen(address + "/v2/models/policy/infer", body, timeout=30) as response:
            assert json.load(response)["outputs"][0]["data"] == [1.25, 2.5]
        server.terminate()
        assert server.wait(30) == 0


def test_keys_sign_and_check_work(tmp_path, bundles):
    key = run(tmp_path, "sacpipe", "keys", "release.key").stdout.strip()
    checked = run(tmp_path, "sacpipe", "check", str(bundles[0]))
    assert (checked.returncode, checked.stderr) == (0, "")
    refused = run(tmp_path, "sacpipe", "check", str(bundles[0]), "--public-key", key)
    assert (refused.returncode, "manifest.sig: missing" in refused.stderr) == (1, True)
    unsigned = run(tmp_path, "sacpipe", "sign", str(tmp_path), "--key", "release.key")
    assert (unsigned.returncode, "was not signed" in unsigned.stderr) == (2, True)


@pytest.mark.parametrize("command", ["run", "report", "simulate policy.safetensors"])
def test_a_command_that_needs_more_says_what(tmp_path, command):
    (tmp_path / "policy.safetensors").touch()
    result = run(tmp_path, "sacpipe", *command.split())
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert "`pip install sacpipe[train,pipeline]` installs it" in result.stderr


@pytest.mark.parametrize("module", ["server.server", "robot.runtime"])
def test_importing_it_takes_little_beyond_numpy_and_onnxruntime(tmp_path, module):
    code = (
        "import json, time, numpy, onnxruntime\nbegin = time.process_time()\n"
        f"import sacpipe.{module}\nprint(json.dumps(time.process_time() - begin))"
    )
    took_s = statistics.median(python(tmp_path, code) for _ in range(5))
    print(f"\n{module}: {took_s:.2f} s")  # noqa: T201
    assert took_s <= MAX_IMPORT_S
