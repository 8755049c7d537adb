"""docker/serve.Dockerfile, built and run for real. `make image` runs it; plain pytest does not collect it.

Needs a container engine that answers to `docker`, and a few minutes. DOCKER_BUILD_OPTIONS are given to
`docker build`, for example `--network host`.
"""

import http.client
import json
import os
import shlex
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from repository import ROOT

from sacpipe.robot.policy import OnnxPolicy

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105
AS_DOCUMENTED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
USER = "10001"


def docker(*words, check=True):
    """Run the engine's client; return the exit code and all that it said."""
    done = subprocess.run(
        ["docker", *(str(word) for word in words)],
        cwd=ROOT,
        env=os.environ | {"SACPIPE_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.returncode, done.stdout.strip()


@pytest.fixture(scope="session")
def image():
    try:
        code, said = docker("version", "--format", "{{.Server.Version}}", check=False)
    except FileNotFoundError:
        code, said = 1, "there is no command `docker`"
    if code:
        pytest.exit(f"no container engine answers, so the image was neither built nor run: {said}", 1)
    options = shlex.split(os.environ.get("DOCKER_BUILD_OPTIONS", ""))
    docker("build", *options, "--file", "docker/serve.Dockerfile", "--tag", "sacpipe-serve", ".")
    return "sacpipe-serve"


@pytest.fixture(scope="session")
def bundle(bundles):
    """A bundle that another user may read."""
    folder = bundles[0]
    for parent in list(folder.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    return folder


@contextmanager
def serving(image, bundle, *options):
    """Run the image as docs/serving.md says, until it says where it listens; its container and its port."""
    mount = f"{bundle}:/bundle:ro"
    port = "127.0.0.1::5001"  # any free one
    words = ("--detach", *AS_DOCUMENTED, "-p", port, "-e", "SACPIPE_TOKEN", "-v", mount, *options, image)
    _, container = docker("run", *words)
    try:
        with subprocess.Popen(
            ["docker", "logs", "--follow", container], stderr=subprocess.PIPE, text=True
        ) as logs:
            said = logs.stderr.readline()
            logs.terminate()
        assert " at http://0.0.0.0:5001" in said, said
        yield container, int(docker("port", container, "5001")[1].rpartition(":")[2])
    finally:
        docker("rm", "--force", container)


@pytest.fixture(scope="session")
def served(image, bundle):
    with serving(image, bundle) as found:
        yield found


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def inside(image, *words):
    """Run a command of the image, or fail to."""
    return docker("run", "--rm", *AS_DOCUMENTED, "--entrypoint", words[0], image, *words[1:], check=False)


def test_it_gives_the_actions_of_the_bundles_own_runtime(served, bundle):
    policy = OnnxPolicy(bundle)
    observations = np.random.default_rng(0).uniform(-3.0, 3.0, (64, 3)).astype(np.float32)
    tensor = {"name": "observation", "shape": [64, 3], "datatype": "FP32", "data": observations.tolist()}
    body = json.dumps({"inputs": [tensor]})
    status, answer = ask(served[1], "POST", "/v2/models/policy/infer", body, Authorization=f"Bearer {TOKEN}")
    assert status == 200, answer
    assert answer["parameters"]["bundle_sha256"] == policy.digest
    expected = np.concatenate([policy.act(observation) for observation in observations])
    np.testing.assert_allclose(answer["outputs"][0]["data"], expected, atol=1e-5)


def test_it_asks_for_the_token(served):
    assert ask(served[1], "GET", "/v2/models/policy")[0] == 401
    assert ask(served[1], "GET", "/v2/health/live") == (200, {"live": True})


def test_without_a_token_it_does_not_start(image, bundle):
    code, said = docker("run", "--rm", *AS_DOCUMENTED, "-v", f"{bundle}:/bundle:ro", image, check=False)
    assert (code, said.count("\n")) == (2, 0)
    assert "Give --token-file or SACPIPE_TOKEN" in said


def test_its_user_is_not_root_and_can_write_nowhere(served):
    assert docker("exec", served[0], "id", "-u")[1] == USER
    for place in ("/", "/tmp", "/bundle", "/opt/sacpipe", "/var/lib/sacpipe"):  # noqa: S108
        code, said = docker("exec", served[0], "sh", "-c", f"echo > {place}/file", check=False)
        assert (code, "Read-only file system" in said) == (2, True), said


def test_a_volume_for_a_store_can_be_written(image, bundle):
    volume = docker("volume", "create")[1]
    try:
        with serving(image, bundle, "-v", f"{volume}:/var/lib/sacpipe") as (container, _):
            docker("exec", container, "sh", "-c", "echo > /var/lib/sacpipe/file")
            assert docker("exec", container, "stat", "-c", "%u", "/var/lib/sacpipe/file")[1] == USER
    finally:
        docker("volume", "rm", volume)


def test_the_health_check_tells_a_server_from_none(image, served):
    kind, *command = json.loads(docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", image)[1])
    assert kind == "CMD"
    assert docker("exec", served[0], *command) == (0, "")
    assert inside(image, *command) == (1, "")


def test_a_label_names_the_base_that_was_built_on(image):
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    assert docker("inspect", "--format", label, image)[1] == "debian:bookworm-slim"


def test_nothing_inside_trains_installs_or_compiles(image):
    code, said = inside(
        image, "sh", "-c", "for tool in cc gcc g++ ld make pip pip3; do command -v $tool; done; true"
    )
    assert (code, said) == (0, "")
    names = ["torch", "mlflow", "dvc", "prefect", "gymnasium", "mujoco", "onnx", "pip", "setuptools"]
    code, said = inside(
        image, "python", "-c", f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    )
    assert (code, said) == (0, "[]")


def test_the_gate_runs_inside(image, bundle):
    words = ("run", "--rm", *AS_DOCUMENTED, "-v", f"{bundle}:/bundle:ro", "--entrypoint", "sacpipe", image)
    assert "timing     passed" in docker(*words, "check", "/bundle")[1]


def test_sigterm_ends_it_with_exit_code_0(image, bundle):
    with serving(image, bundle) as (container, _):
        docker("kill", "--signal", "TERM", container)
        assert docker("wait", container) == (0, "0")
        assert "Traceback" not in docker("logs", container)[1]


def test_its_size(image):
    """Printed, for the README; the base image is part of it."""
    size_bytes = int(docker("inspect", "--format", "{{.Size}}", image)[1])
    print(f"\n{image}: {size_bytes / 1e6:.0f} MB with its base image")  # noqa: T201
