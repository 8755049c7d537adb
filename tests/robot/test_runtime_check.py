"""The load gate builds and steps the real runtime: a bundle whose every step fails or refuses never serves."""

import numpy as np
import pytest
from bundle_factories import make_bundle
from guard_factories import make_settings
from robot_fixtures import GOLDEN_ACTIONS, GOLDEN_OBSERVATIONS, SPEC, make_model

from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import BundleError, GateError
from sacpipe.robot.armed_guards import ArmedGuards
from sacpipe.robot.guard_chain import Executed, GuardChain
from sacpipe.robot.load_gate import DEFAULT_GATE, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.robot.runtime_check import check_runtime
from sacpipe.rollout.sources import read_source

GOLDEN = {"tolerance": 1e-5, "num_steps": 3}


@pytest.fixture
def check(tmp_path):
    """Run the runtime check on a bundle with changes to its contract."""

    def run(spec=SPEC, **contract):
        contract = {"golden": GOLDEN} | contract
        folder = tmp_path / "bundle"
        make_bundle(folder, make_model(), spec, GOLDEN_OBSERVATIONS, GOLDEN_ACTIONS, **contract)
        bundle = open_bundle(folder)
        policy = OnnxPolicy(bundle)
        check_runtime(policy, bundle)
        return policy

    return run


def make_envelope(low, high):
    sides = {"low": low, "high": high}
    ranges = {side: {"position": row[:2], "velocity": row[2:]} for side, row in sides.items()}
    return ranges | {"longest_constant": {"position": 1, "velocity": 1}}


def raise_error(*_, **__):
    raise OverflowError("cannot convert float infinity to integer")


def refusal(check, *arguments, **contract) -> str:
    with pytest.raises(BundleError) as refused:
        check(*arguments, **contract)
    assert refused.value.rule == "runtime"
    return str(refused.value)


@pytest.mark.parametrize("period_s", [None, 1e-9, 0.02, 86_400.0])
def test_a_bundle_of_any_clock_passes(check, period_s):
    policy = check(SPEC.replace(control_period_s=period_s))
    assert policy.act({"position": np.float32([0.5, 0.25]), "velocity": np.float32([0.0])}).tolist() == [
        1.25,
        2.5,
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"guards": {"action_change": {"max_change": 0.01}}, "fallbacks": {"action_change": "stop"}},
        {"fallbacks": dict.fromkeys(["observation_repeated", "start_outside_envelope"], "stop")},
        {"max_last_steps": 1},
        {"blend_steps": 1000},
        {"safe_action": [-2.0, 4.0]},
        {
            "guards": {
                "observation_old": {"max_age_periods": 0.1},
                "observation_from_future": {"max_future_periods": 0.0},
                "start_outside_envelope": {"margin": 0.0},
            }
        },
        {"guards": {"outside_envelope": {"margin": 0.0}, "sensor_frozen": {"max_repeats": 0}}},
        {"ramp_steps": 1000, "watchdog_periods": 2.0},
    ],
)
def test_careful_guards_pass(check, changes):
    check(runtime=make_settings(**changes).as_tree())


def test_guards_that_refuse_every_observation_are_refused(check):
    message = refusal(check, runtime=make_settings({"observation_old": {"max_age_periods": 1e-12}}).as_tree())
    assert "the policy's action for at least one golden observation, found observation_old: 3" in message
    envelope = make_envelope([100.0] * 3, [101.0] * 3)
    assert "found start_outside_envelope: 3" in refusal(check, envelope=envelope)


def test_an_envelope_around_some_of_the_golden_observations_passes(check):
    check(envelope=make_envelope([2.0, 0.0, -1.0], [4.0, 2.0, 1.0]))


def test_a_runtime_that_cannot_be_built_is_refused(check, monkeypatch):
    monkeypatch.setattr(ArmedGuards, "of", raise_error)
    assert "expected a runtime that can be built, found OverflowError: cannot convert" in refusal(check)


@pytest.mark.parametrize("name", ["check_observation", "check_action", "decide"])
def test_a_step_that_fails_is_refused(check, monkeypatch, name):
    monkeypatch.setattr(GuardChain, name, raise_error)
    assert "expected a step without an error, found OverflowError at the golden step 0" in refusal(check)


def test_a_step_that_fails_for_a_hostile_observation_only_is_refused(check, monkeypatch):
    original = GuardChain.check_observation

    def fragile(self, observation, stamp_ns, now_ns):
        return raise_error() if stamp_ns == -(2**63) else original(self, observation, stamp_ns, now_ns)

    monkeypatch.setattr(GuardChain, "check_observation", fragile)
    assert "found OverflowError at the stamp -9223372036854775808" in refusal(check)


def test_a_step_that_fails_after_a_swap_only_is_refused(check, monkeypatch):
    monkeypatch.setattr(Runtime, "_take_over", raise_error)
    assert "found OverflowError at the step 0 after a swap" in refusal(check)


def test_an_action_that_cannot_be_executed_is_refused(check, monkeypatch):
    monkeypatch.setattr(GuardChain, "decide", lambda *_: Executed([np.nan, 0.0], "fallback", ("shape",)))
    assert "to [3. 4.], found [nan  0.] at the golden step 0" in refusal(check)
    monkeypatch.setattr(GuardChain, "decide", lambda *_: Executed([9.0, 0.0], "ok", ()))
    assert "expected an action from [-2. -4.] to [3. 4.], found [9. 0.] at the golden step 0" in refusal(
        check
    )


def test_the_load_gate_names_the_rule(check, tmp_path, monkeypatch):
    check()
    monkeypatch.setattr(ArmedGuards, "of", raise_error)
    with pytest.raises(GateError, match="refused by the rule 'runtime': runtime: expected") as refused:
        run_load_gate(read_source(tmp_path / "bundle", allow_hard_links=False), DEFAULT_GATE)
    assert refused.value.rule == "runtime"
