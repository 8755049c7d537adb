"""Smoothness and saturation of executed actions, with actions computed by hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from sacpipe.release.rules.saturation import Saturation
from sacpipe.release.rules.smoothness import Smoothness
from sacpipe.testing.rule_evidence import GivenScored, given_evidence


@dataclass(frozen=True)
class Acting(GivenScored):
    """A policy whose two entries, each from -1 to 1, execute these actions in its episodes."""

    executed: tuple = ()

    def actions(self, n):
        return tuple(np.array(self.executed[index % len(self.executed)], np.float32) for index in range(n))


def acting(*episodes):
    given = given_evidence()
    policy = Acting(given.candidate.nominal, given.candidate.contract, executed=episodes)
    return replace(given, candidate=policy)


def smoothness(max_change, episodes=2):
    return Smoothness(name="smoothness", episodes=episodes, max_change=max_change)


def test_the_change_is_a_share_of_the_range_over_steps_and_entries():
    """Changes of 1 and 0, then of 0 and 1, of a range of 2: shares 0.5, 0, 0, 0.5."""
    evidence = acting([[0, 0], [1, 0]], [[-1, 1], [-1, 0]])
    assert smoothness(0.25).judge(evidence).figure == 0.25
    assert smoothness(0.25).judge(evidence).ok
    refused = smoothness(0.249).judge(evidence)
    assert (refused.ok, refused.unit) == (False, "share")
    assert refused.text().endswith("mean change of an action per step 25 % of its range, limit 24.9 %")


def test_a_jump_between_two_episodes_is_none():
    assert smoothness(0.1).judge(acting([[1, 1], [1, 1]], [[-1, -1], [-1, -1]])).figure == 0.0


def test_episodes_of_one_step_have_no_change():
    finding = smoothness(0.1).judge(acting([[1, 1]]))
    assert (finding.ok, finding.figure, finding.found) == (True, None, "no episode has a second step")


def saturation(max_share):
    return Saturation(name="saturation", episodes=1, max_share=max_share)


def test_a_step_counts_where_an_entry_is_within_a_thousandth_of_a_bound():
    """Of these steps the first, the second and the last have an entry at a bound; 0.003 of 2 is 0.0015."""
    evidence = acting([[1, 0], [0, -1], [0.5, 0.5], [0.997, 0], [0.9985, 0]])
    assert saturation(0.6).judge(evidence).figure == pytest.approx(0.6)
    assert saturation(0.6).judge(evidence).ok
    refused = saturation(0.59).judge(evidence)
    assert not refused.ok
    assert refused.text() == "saturation: share of steps with an action at a bound 60 %, limit 59 %"
