"""Parity and latency."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from sacpipe.release.rules.latency import Latency
from sacpipe.release.rules.parity import Parity
from sacpipe.testing.rule_evidence import GivenScored, given_evidence

PARITY = Parity(name="parity")


def with_parity(**changes):
    evidence = given_evidence()
    return replace(evidence, parity=evidence.parity.replace(**changes))


@pytest.mark.parametrize(("error", "ok"), [(1e-4, True), (1.1e-4, False)])
def test_torch_and_onnx_differ_by_at_most_the_exports_tolerance(error, ok):
    finding = PARITY.judge(with_parity(parity_max_error=error))
    assert (finding.ok, finding.figure, finding.threshold) == (ok, error, 1e-4)
    assert finding.found.startswith("actions of torch and ONNX differ by 0.01")


@pytest.mark.parametrize(("error", "ok"), [(1e-5, True), (1.1e-5, False), (float("nan"), False)])
def test_the_golden_sequence_differs_by_at_most_the_contracts_tolerance(error, ok):
    finding = PARITY.judge(replace(given_evidence(), golden_error=error, parity=None))
    assert (finding.ok, finding.threshold) == (ok, 1e-5)
    assert finding.found.startswith("the bundle's golden actions on this machine differ by")
    assert finding.found.endswith("; no parity of the export is recorded")


def test_a_machine_that_computes_other_actions_is_refused_whatever_the_export_found():
    finding = PARITY.judge(replace(with_parity(), golden_error=1.0))
    assert not finding.ok
    assert "golden" in finding.found


@dataclass(frozen=True)
class Timed(GivenScored):
    """A policy that takes 1 ms in 98 of 100 steps, and 9 ms in two."""

    def latency(self):
        return np.where(np.arange(1000) % 100 < 98, 1e-3, 9e-3)


def latency(quantile, max_share, **changes):
    given = given_evidence()
    policy = replace(Timed(given.candidate.nominal, given.candidate.contract), **changes)
    return Latency(name="latency", quantile=quantile, max_share=max_share).judge(
        replace(given, candidate=policy)
    )


def test_the_quantile_is_a_share_of_the_control_period():
    """The period is 20 ms: 1 ms is 5 % of it and 9 ms are 45 %."""
    assert latency(0.9, 0.05).ok
    assert latency(0.9, 0.05).figure == pytest.approx(0.05)
    refused = latency(0.99, 0.4)
    assert not refused.ok
    assert refused.figure == pytest.approx(0.45)
    assert refused.text() == (
        "latency: 99 % of the steps take at most 45 % of the control period (9 of 20 ms), limit 40 %"
    )
    assert "Judge on an idle machine" in refused.advice


def test_a_task_without_a_clock_is_said_in_words():
    given = given_evidence().candidate.contract
    contract = given.model_copy(update={"spec": given.spec.replace(control_period_s=None)})
    finding = latency(0.9, 1e-9 + 1e-6, contract=contract)
    assert (finding.ok, finding.found) == (True, "does not apply: example/Reach-v0 has no clock")
