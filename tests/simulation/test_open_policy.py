"""Commands and the library open bundles through the load gate that a server uses."""

import json
import subprocess

import pytest
from bundle_factories import make_bundle, make_golden, make_runtime
from guard_package import install_guard
from robot_fixtures import GOLDEN_ACTIONS, GOLDEN_OBSERVATIONS, SPEC, make_model

import sacpipe
from sacpipe.core.errors import ConfigError, GateError
from sacpipe.simulation.drive import DriveConfig, drive
from sacpipe.simulation.open_policy import open_policy
from sacpipe.simulation.simulate import simulate

CONFIG = DriveConfig.parse(
    {
        "rate_hz": None,
        "seconds": 0.1,
        "seed": 0,
        "disturbance": {
            "noise": 0.0,
            "drop_out": 0.0,
            "delay_steps": 0,
            "not_a_number": 0.0,
            "actuator_noise": 0.0,
        },
        "priority": None,
        "task": None,
        "options": {},
    }
)


@pytest.fixture
def build(tmp_path):
    """Write a bundle with changes to its contract, and return its folder."""

    def write(spec=SPEC, **contract):
        contract = {"golden": {"tolerance": 1e-5, "num_steps": 3}} | contract
        folder = tmp_path / "bundle"
        return make_bundle(folder, make_model(), spec, GOLDEN_OBSERVATIONS, GOLDEN_ACTIONS, **contract)

    return write


FAR = {
    "low": {"position": [100.0] * 2, "velocity": [100.0]},
    "high": {"position": [101.0] * 2, "velocity": [101.0]},
    "longest_constant": {"position": 1, "velocity": 1},
}
"""An envelope that no golden observation is in."""

ENTRIES = {
    "open_policy": lambda path: open_policy(path, is_realtime=False),
    "load_policy": sacpipe.load_policy,
    "simulate": lambda path: simulate(path, task=None, episodes=1, seed=0, stochastic=False, video=None),
    "drive": lambda path: drive(path, CONFIG, None),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("rule", "contract"),
    [
        ("terms", {"golden": {"tolerance": 1.0, "num_steps": 3}}),
        ("terms", {"runtime": make_runtime(guards=[{"name": "shape", "fallback": "hold"}]).as_tree()}),
        ("runtime", {"envelope": FAR}),
    ],
)
def test_every_entry_refuses_what_a_server_refuses(build, entry, rule, contract):
    """`OnnxPolicy` alone opens each of these."""
    with pytest.raises(GateError) as refusal:
        ENTRIES[entry](str(build(**contract)))
    assert refusal.value.rule == rule


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_file_that_does_not_belong_to_a_bundle_is_refused(build, entry):
    folder = build()
    (folder / "notes.txt").write_text("")
    with pytest.raises(GateError, match=r"refused by the rule 'files': .*notes.txt"):
        ENTRIES[entry](str(folder))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("address", ["models:/Reach", "models:/Reach/latest", "models:/a/b@c", "models:/"])
def test_every_entry_reads_addresses_alike(entry, address):
    with pytest.raises(ConfigError, match="expected models:/NAME@ALIAS or models:/NAME/VERSION, found"):
        ENTRIES[entry](address)


def test_a_tar_file_opens_too(build, tmp_path):
    folder = build()
    names = sorted(path.name for path in folder.iterdir())
    subprocess.run(["tar", "-cf", tmp_path / "bundle.tar", "-C", folder, *names], check=True)
    policy = sacpipe.load_policy(tmp_path / "bundle.tar")
    assert policy.sha256 == sacpipe.load_policy(folder).sha256


def test_only_what_runs_in_real_time_has_to_meet_the_deadline(build):
    """A simulation waits for the policy."""
    folder = str(build(SPEC.replace(control_period_s=1e-9)))
    first = make_golden(SPEC, GOLDEN_OBSERVATIONS, GOLDEN_ACTIONS).observations.rows(0)
    action = open_policy(folder, is_realtime=False).act(first)
    assert action.tolist() == GOLDEN_ACTIONS[0]
    with pytest.raises(GateError, match="refused by the rule 'timing'"):
        open_policy(folder, is_realtime=True)


class TestOwnGuards:
    """A guard of another package runs where the project's params.yaml lists it, not because a bundle does."""

    RUNTIME = make_runtime().as_tree() | {"guards": [{"name": "tilt", "fallback": "stop", "max_tilt": 2.0}]}

    @pytest.fixture
    def project(self, tmp_path, monkeypatch):
        """Return a function that makes a project of a section `runtime` around the current folder."""
        install_guard(tmp_path / "site", monkeypatch)
        (tmp_path / "project").mkdir()
        monkeypatch.chdir(tmp_path / "project")

        def make(runtime):
            (tmp_path / "project/dvc.yaml").write_text("")
            (tmp_path / "project/params.yaml").write_text(json.dumps({"runtime": runtime}))

        return make

    def test_one_that_params_lists_runs(self, build, project):
        project(self.RUNTIME)
        policy = open_policy(str(build(runtime=self.RUNTIME)), is_realtime=False)
        assert [guard.name for guard in policy.contract.runtime.guards] == ["tilt"]

    @pytest.mark.parametrize("runtime", [None, make_runtime().as_tree(), {}])
    def test_one_that_the_bundle_alone_lists_is_refused(self, build, project, runtime):
        if runtime is not None:
            project(runtime)
        with pytest.raises(GateError, match=r"gate.enabled_guards\), found 'tilt'"):
            open_policy(str(build(runtime=self.RUNTIME)), is_realtime=False)
