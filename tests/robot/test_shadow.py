"""A candidate is compared and never executed; what is said of it was worked out by hand."""

import itertools
import threading

import numpy as np
import pytest
from bundle_factories import make_bundle, make_onnx, make_spec

from sacpipe.core.errors import BundleError
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.robot.shadow import Shadow


def observation(*values) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.fixture
def runtime(build):
    """A runtime whose clock is moved by `show`."""
    clock = iter(range(10**12, 10**15, 1_000))
    runtime = Runtime(OnnxPolicy(build()), clock_ns=lambda: next(clock))
    runtime.show = lambda seen: runtime.step(seen, next(clock))
    return runtime


def test_what_differs_is_measured_and_not_executed(runtime, build_other):
    """At (x, 0, 0) the policies give +-(x + 1) and twice that: 2(x + 1) of 5 apart, and 4(x + 1) of 8."""
    with Shadow(runtime, OnnxPolicy(build_other)) as shadow:
        actions = [runtime.show(observation(x, 0.0, 0.0)).action.tolist() for x in (0.0, 0.5, -0.5)]
    assert actions == [[1.0, 2.0], [1.5, 3.0], [0.5, 1.0]]
    found = shadow.divergence()
    assert (found.steps, found.dropped, found.refused) == (3, 0, 0)
    assert (found.largest, found.largest_entry) == (0.75, "elbow")
    assert found.mean == pytest.approx(((0.4 + 0.6 + 0.2) + (0.5 + 0.75 + 0.25)) / 6)
    assert found.p99 == 0.75
    assert found.host == runtime.policy.digest != found.candidate


def test_equal_policies_do_not_differ(runtime, build):
    with Shadow(runtime, OnnxPolicy(build())) as shadow:
        for x in range(5):
            runtime.show(observation(x, 0.0, 0.0))
    found = shadow.divergence()
    assert (found.steps, found.mean, found.p99, found.largest) == (5, 0.0, 0.0, 0.0)


class TestStochastic:
    """action = gain * state + scale * (sum of the noise)."""

    @pytest.fixture
    def noisy(self, tmp_path):
        folders = (tmp_path / f"noisy-{number}" for number in itertools.count())

        def build(gain=1.0, scales=(1.0,)):
            spec = make_spec(1, bounds=((-9.0, 9.0),))
            model = make_onnx(
                [[gain], *([scale] for scale in scales)], terms={"state": 1, "noise": len(scales)}
            )
            steps = {"noise": [[0.0] * len(scales)]}
            return OnnxPolicy(make_bundle(next(folders), model, spec, [[0.5]], [[0.5 * gain]], **steps))

        return build

    def compare(self, policy, candidate):
        """The policy in service acted before: its noise is elsewhere in its stream than the candidate's."""
        clock = iter(range(10**12, 10**15, 1_000))
        runtime = Runtime(policy, clock_ns=lambda: next(clock))
        runtime.step(observation(0.5), next(clock))
        with Shadow(runtime, candidate) as shadow:
            actions = [runtime.step(observation(0.5), next(clock)).action[0] for _ in range(20)]
        assert len(set(actions)) == 20
        return shadow.divergence()

    def test_equal_policies_do_not_differ(self, noisy):
        found = self.compare(noisy(), noisy())
        assert (found.steps, found.refused, found.largest) == (20, 0, 0.0)

    def test_a_difference_beside_the_noise_is_measured_alone(self, noisy):
        """1.5 * 0.5 - 0.5 of a range of 18."""
        found = self.compare(noisy(), noisy(gain=1.5))
        assert found.mean == pytest.approx(0.25 / 18, rel=1e-5)

    def test_more_noise_is_a_difference(self, noisy):
        assert self.compare(noisy(), noisy(scales=(1.5,))).mean > 0.5 * 0.5 / 18

    def test_further_noise_is_a_difference_and_the_common_noise_is_not(self, noisy):
        assert self.compare(noisy(), noisy(scales=(1.0, 0.0))).largest == 0.0
        assert self.compare(noisy(), noisy(scales=(1.0, 1.0))).largest > 0.0

    def test_the_policy_in_service_draws_its_own_noise_still(self, noisy):
        clock = iter(range(10**12, 10**15, 1_000))
        alone, compared = (Runtime(noisy(), clock_ns=lambda: next(clock)) for _ in range(2))
        with Shadow(compared, noisy()):
            for _ in range(5):
                first, second = (run.step(observation(0.5), next(clock)) for run in (alone, compared))
                assert first.action.tolist() == second.action.tolist()


def test_fallbacks_are_not_compared(runtime, build_other):
    with Shadow(runtime, OnnxPolicy(build_other)) as shadow:
        runtime.show(observation(0.0, 0.0, 0.0))
        runtime.show(observation(np.nan, 0.0, 0.0))
    assert shadow.divergence().steps == 1


@pytest.mark.parametrize("given", [(np.nan, 0.0), (0.0, 4.001)])
def test_what_would_be_refused_of_a_candidate_is_counted(runtime, build_other, monkeypatch, given):
    candidate = OnnxPolicy(build_other)
    monkeypatch.setattr(candidate, "run", lambda _: observation(*given))
    with Shadow(runtime, candidate) as shadow:
        runtime.show(observation(0.0, 0.0, 0.0))
    found = shadow.divergence()
    assert (found.steps, found.refused, found.largest) == (1, 1, 0.0)


def test_a_candidate_that_cannot_keep_up_drops_and_delays_nothing(runtime, build_other, monkeypatch):
    candidate, may_go = OnnxPolicy(build_other), threading.Event()
    run = candidate.run
    monkeypatch.setattr(candidate, "run", lambda seen: may_go.wait() and run(seen))
    with Shadow(runtime, candidate) as shadow:
        for _ in range(400):
            assert runtime.show(observation(0.0, 0.0, 0.0)).verdict == "ok"
        may_go.set()
    found = shadow.divergence()
    assert found.steps + found.dropped == 400
    assert 256 <= found.steps <= 257  # those that waited, and the one in work


def test_closed_is_closed(runtime, build_other):
    shadow = Shadow(runtime, OnnxPolicy(build_other))
    shadow.close()
    runtime.show(observation(0.0, 0.0, 0.0))
    assert shadow.divergence().steps == 0
    assert not runtime.listeners


def test_another_task_is_refused(runtime, build_other, monkeypatch):
    candidate = OnnxPolicy(build_other)
    other = candidate.contract.spec.replace(task="example/Other-v0")
    monkeypatch.setattr(candidate, "contract", candidate.contract.replace(spec=other.as_tree()))
    with pytest.raises(BundleError, match="expected a candidate of example/Reach-v0"):
        Shadow(runtime, candidate)
