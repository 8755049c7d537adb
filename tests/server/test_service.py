"""A service changes its policy between two requests, and says of every action whose it is."""

import json
import threading
import time

import numpy as np
import pytest

from sacpipe.bundle.reader import open_bundle
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.errors import BundleError, ConfigError
from sacpipe.robot.guard_chain import GuardChain
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.server.http_errors import FaultError, NotFoundError, RefusalError, UnavailableError
from sacpipe.server.prometheus import prometheus_text
from sacpipe.server.service import Call, Service

BLEND_STEPS = 2


def changed(folder, target, change):
    """Write a bundle again with another contract."""
    bundle = open_bundle(folder)
    write_bundle(target, bundle.policy_onnx, change(bundle.contract), bundle.golden)
    return OnnxPolicy(target)


def blending(contract):
    return contract.replace(runtime=contract.runtime.as_tree() | {"blend_steps": BLEND_STEPS})


def ask(service, version=None, **parameters):
    tensor = {"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [0.5, 0.25, 0.0]}
    body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    found = json.loads(service.answer(Call(body, None, version, time.monotonic_ns())).body)
    return found["outputs"][0]["data"], found["parameters"]


def test_a_swap_is_for_the_next_request(bundles):
    first, second = (OnnxPolicy(folder) for folder in bundles)
    service = Service(first)
    assert ask(service)[0] == [1.25, 2.5]
    service.swap(second)
    action, parameters = ask(service, second.digest[:12])
    assert (action, parameters["bundle_sha256"]) == ([-1.25, -2.5], second.digest)
    with pytest.raises(NotFoundError, match=f"expected {second.digest[:12]}, the one in service"):
        ask(service, first.digest)
    assert service.metrics.swaps == 1
    assert service.active.statistics.execution_count == 1
    assert service.active.statistics.inference_stats.fail.count == 1


def test_a_sequence_blends_and_names_both(bundles, tmp_path):
    first = OnnxPolicy(bundles[0])
    service = Service(first)
    ask(service, sequence_id=1, sequence_start=True)
    service.swap(changed(bundles[1], tmp_path / "blending", blending))
    found = [ask(service, sequence_id=1) for _ in range(3)]
    np.testing.assert_allclose([action[0] for action, _ in found], [1.25 / 3, -1.25 / 3, -1.25], rtol=1e-6)
    digests = [parameters.get("blended_with_sha256") for _, parameters in found]
    assert digests == [first.digest, first.digest, None]


def test_a_rollback_is_at_once_and_does_not_ask_what_failed(bundles, tmp_path, monkeypatch):
    first, second = (changed(folder, tmp_path / folder.name, blending) for folder in bundles)
    service = Service(first)
    with pytest.raises(BundleError, match="no policy to go back to"):
        service.rollback()
    ask(service, sequence_id=1, sequence_start=True)
    service.swap(second)
    ask(service, sequence_id=1)
    monkeypatch.setattr(second, "run", lambda _: np.array([np.nan, 0.0], np.float32))
    assert service.rollback() is service.policy is first
    action, parameters = ask(service, sequence_id=1)
    assert (action, parameters["verdict"], parameters["bundle_sha256"]) == ([1.25, 2.5], "ok", first.digest)


def test_a_halted_service_stops_sequences_and_refuses_the_rest_until_a_policy_may_act(bundles):
    first, second = (OnnxPolicy(folder) for folder in bundles)
    service = Service(first)
    ask(service, sequence_id="left", sequence_start=True)
    service.halt()
    for parameters in ({"sequence_id": "left"}, {"sequence_id": "right", "sequence_start": True}):
        assert ask(service, **parameters)[1]["verdict"] == "stopped"
    with pytest.raises(UnavailableError, match="no policy may act here now") as refusal:
        ask(service)
    assert refusal.value.status == 503
    assert (service.causes["no_policy"], service.stops) == (2, 2)
    assert service.rollback(second) is service.policy is second
    assert ask(service)[0] == [-1.25, -2.5]
    assert ask(service, sequence_id="left")[1]["verdict"] == "stopped"  # until the robot begins another one
    assert ask(service, sequence_id="up", sequence_start=True)[0] == [-1.25, -2.5]


def test_what_was_taken_back_while_a_sequence_was_idle_is_not_blended(bundles, tmp_path, monkeypatch):
    policies = [changed(folder, tmp_path / folder.name, blending) for folder in bundles]
    third = changed(bundles[0], tmp_path / "third", blending)
    service = Service(policies[0])
    service.swap(policies[1])
    ask(service, sequence_id=1, sequence_start=True)
    service.rollback()
    service.swap(third)
    monkeypatch.setattr(policies[1], "run", lambda _: np.array([np.nan, 0.0], np.float32))
    action, parameters = ask(service, sequence_id=1)
    assert (action, parameters["verdict"], parameters["bundle_sha256"]) == ([1.25, 2.5], "ok", third.digest)
    assert "blended_with_sha256" not in parameters


def test_a_stop_counts_once_however_long_it_holds(bundles, monkeypatch):
    policy = OnnxPolicy(bundles[0])
    service = Service(policy)
    for key in ("left", "right"):
        ask(service, sequence_id=key, sequence_start=True)
    monkeypatch.setattr(policy, "run", lambda _: np.array([np.nan, 0.0], np.float32))
    found = [ask(service, sequence_id="left")[1] for _ in range(3)]
    assert [(one["verdict"], one["reasons"]) for one in found] == [("stopped", "action_not_finite")] * 3
    assert (service.stops, service.causes["action_not_finite"]) == (1, 1)
    ask(service, sequence_id="right", sequence_end=True)
    assert (service.stops, service.causes["action_not_finite"]) == (2, 2)


def test_listeners_get_rows_and_steps(bundles):
    service, received = Service(OnnxPolicy(bundles[0])), []
    service.listeners.add(
        lambda seen, stamp, decision: received.append((seen.vector.tolist(), stamp, decision))
    )
    tensor = {"name": "observation", "shape": [2, 3], "datatype": "FP32", "data": [0.5, 0.25, 0, 3, 1, 0]}
    service.answer(Call(json.dumps({"inputs": [tensor]}).encode(), None, None, time.monotonic_ns()))
    ask(service, sequence_id=1, sequence_start=True, observation_stamp_ns=7)
    assert [seen for seen, _, _ in received] == [[0.5, 0.25, 0.0], [3.0, 1.0, 0.0], [0.5, 0.25, 0.0]]
    assert [decision.action.tolist() for _, _, decision in received[:2]] == [[1.25, 2.5], [3.0, 4.0]]
    assert [decision.verdict for _, _, decision in received] == ["ok", "ok", "fallback"]  # that stamp is old
    assert (received[2][1], received[2][2].reasons) == (7, ("observation_old",))


def test_a_policy_of_another_task_is_refused(bundles, tmp_path):
    service = Service(OnnxPolicy(bundles[0]))
    other = changed(
        bundles[1],
        tmp_path / "other-task",
        lambda contract: contract.replace(spec=contract.spec.as_tree() | {"task": "example/Push-v0"}),
    )
    with pytest.raises(BundleError, match=r"found one of example/Push-v0.*The policy in service goes on"):
        service.swap(other)
    assert ask(service)[0] == [1.25, 2.5]


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (99.0, "99.0")])
def test_an_action_outside_its_bounds_is_no_answer(bundles, monkeypatch, value, said):
    """No bundle that opens does this; a broken processor might."""
    policy = OnnxPolicy(bundles[0])
    service = Service(policy)
    monkeypatch.setattr(policy, "_infer", lambda _: np.array([value, 0.0], np.float32))
    with pytest.raises(FaultError, match=f"action_outside_bounds: row 0: .*{said}"):
        ask(service)
    assert service.metrics.causes["action_outside_bounds"] == 1
    assert service.metrics.refusals == {500: 1}


def test_refusals_are_counted_and_remembered(bundles):
    service = Service(OnnxPolicy(bundles[0]))
    with pytest.raises(RefusalError):
        ask(service, sequence_id="never begun")
    assert service.metrics.refusals == {400: 1}
    assert service.events[-1].verdict == "refused"
    assert "never begun" in service.events[-1].reasons


def test_swaps_of_several_threads_are_all_counted(bundles):
    policies = [OnnxPolicy(folder) for folder in bundles]
    service = Service(policies[0])

    def swap_often():
        for index in range(200):
            service.swap(policies[index % 2])

    threads = [threading.Thread(target=swap_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.metrics.swaps == 800


@pytest.mark.parametrize("name", ["", "a/b", "stats", "x" * 65, "ü", "a\n"])
def test_a_name_that_no_path_can_hold(bundles, name):
    with pytest.raises(ConfigError, match="--name"):
        Service(OnnxPolicy(bundles[0]), name)


def raise_error(*_, **__):
    raise ZeroDivisionError("unforeseen")


def test_a_step_that_fails_unforeseen_is_counted_shown_and_a_cause(bundles, monkeypatch):
    """Where a runtime could not even be built, every step answered 500 and nothing was counted."""
    service = Service(OnnxPolicy(bundles[0]))
    monkeypatch.setattr(Runtime, "__init__", raise_error)
    with pytest.raises(FaultError, match="inference_failed: the step failed"):
        ask(service, sequence_id=1, sequence_start=True)
    assert service.causes["inference_failed"] == service.metrics.unexpected_errors == 1
    assert service.metrics.refusals == {500: 1}
    assert (service.events[-1].verdict, len(service.events)) == ("refused", 1)


def test_an_error_inside_a_step_is_answered_by_the_fallback_and_counted(bundles, monkeypatch):
    service = Service(OnnxPolicy(bundles[0]))
    monkeypatch.setattr(GuardChain, "check_action", raise_error)
    assert ask(service, sequence_id=1, sequence_start=True)[1]["reasons"] == "inference_failed"
    assert service.causes["inference_failed"] == service.metrics.unexpected_errors == 1
    monkeypatch.undo()
    ask(service, sequence_id=2, sequence_start=True)
    assert service.metrics.unexpected_errors == 1


def test_an_error_outside_the_policy_is_counted_and_no_cause(bundles, monkeypatch):
    """A request that trips the parser must not roll a policy back."""
    service = Service(OnnxPolicy(bundles[0]))
    monkeypatch.setattr("sacpipe.server.service.parse_infer", raise_error)
    with pytest.raises(ZeroDivisionError):
        ask(service)
    assert (service.metrics.unexpected_errors, sum(service.causes.values())) == (1, 0)
    assert service.metrics.refusals == {500: 1}
    assert "unexpected_errors_total 1" in prometheus_text(service, None).decode()


def test_a_listener_that_fails_withholds_no_action(bundles):
    service, steps = Service(OnnxPolicy(bundles[0])), []
    service.listeners.add(raise_error)
    service.listeners.add(lambda *step: steps.append(step))
    assert ask(service)[0] == [1.25, 2.5]
    assert (service.metrics.unexpected_errors, len(steps)) == (1, 1)
