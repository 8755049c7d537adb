"""Robustness rules: the worst perturbation against a floor and against the champion's mean."""

import math
from dataclasses import dataclass, replace

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.release.evidence import Perturbation
from sacpipe.release.rules.delay import Delay
from sacpipe.release.rules.dropouts import Dropouts
from sacpipe.release.rules.friction import Friction
from sacpipe.release.rules.mass import Mass
from sacpipe.release.rules.observation_noise import ObservationNoise
from sacpipe.testing.rule_evidence import GivenScored, given_evidence

RULES = {
    Delay: ({"periods": 3}, [Perturbation(delay_periods=3)]),
    Dropouts: ({"probability": 0.25}, [Perturbation(drop_out=0.25)]),
    ObservationNoise: ({"deviation": 0.01}, [Perturbation(noise=0.01)]),
    Mass: ({"factors": [0.5, 2.0]}, [Perturbation(mass=0.5), Perturbation(mass=2.0)]),
    Friction: ({"factors": [3.0]}, [Perturbation(friction=3.0)]),
}


@dataclass(frozen=True)
class Recording(GivenScored):
    """Given returns; each perturbation costs what `costs` says."""

    costs: tuple[tuple[Perturbation, float], ...] = ()

    def perturbed(self, perturbation, n):
        return replace(self, costs=(), loss=dict(self.costs).get(perturbation, self.loss)).episodes_with_loss(
            perturbation, n
        )

    def episodes_with_loss(self, perturbation, n):
        return GivenScored.perturbed(self, perturbation, n)


def rule(kind, *, floor=None, loss=None, **keys):
    name = kind.example().name
    tree = {"name": name, "episodes": 4, "min_return": floor, "max_loss": loss} | (keys or RULES[kind][0])
    return kind.parse(tree)


def evidence(loss=0.0, champion=None, champion_loss=0.0, **changes):
    """Evidence of a candidate with a mean of 11 that loses `loss`, and of a champion."""
    found = given_evidence((10.0, 12.0), champion)
    changes = {"loss": loss} | changes
    theirs = None if found.champion is None else replace(found.champion, loss=champion_loss)
    return replace(found, candidate=replace(found.candidate, **changes), champion=theirs)


@pytest.mark.parametrize("kind", RULES)
def test_each_rule_perturbs_what_its_name_says(kind):
    assert list(rule(kind).perturbations().values()) == RULES[kind][1]


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize(("floor", "ok"), [(9.0, True), (8.999, True), (9.001, False)])
def test_the_mean_under_the_perturbation_is_at_least_the_floor(kind, floor, ok):
    finding = rule(kind, floor=floor).judge(evidence(loss=2.0))
    assert (finding.ok, finding.figure, finding.threshold, finding.episodes) == (ok, 9.0, floor, 4)
    assert finding.found.endswith("(4 episodes; without it 11)")


@pytest.mark.parametrize(("loss", "ok"), [(1.0, True), (3.0, True), (3.001, False)])
def test_the_loss_is_against_the_champion_under_the_same_perturbation(loss, ok):
    """The champion has 20 - 11 = 9 under the noise, so 6 is the floor of a largest loss of 3."""
    found = evidence(loss=2.0 + loss, champion=(20.0,), champion_loss=11.0)
    finding = rule(ObservationNoise, loss=3.0).judge(found)
    assert (finding.ok, finding.threshold) == (ok, 6.0)
    assert "(the champion's 9 on the same seeds, less max_loss 3)" in finding.expected


def test_the_higher_of_two_floors_counts():
    found = evidence(loss=2.0, champion=(20.0,), champion_loss=11.0)
    assert rule(ObservationNoise, floor=8.0, loss=3.0).judge(found).threshold == 8.0
    assert rule(ObservationNoise, floor=5.0, loss=3.0).judge(found).threshold == 6.0


def test_negative_returns_are_compared_in_task_units():
    """A share of a negative return would turn the rule round: -100 with a loss of 5 % would have to exceed -95."""
    found = given_evidence((-104.0,), (-100.0,))
    assert rule(Delay, loss=5.0).judge(found).ok
    assert not rule(Delay, loss=3.0).judge(found).ok


def test_equal_returns_hold_at_a_loss_of_zero():
    assert rule(Delay, loss=0.0).judge(given_evidence((-3.0, 4.0), (-3.0, 4.0))).ok


def test_without_a_threshold_the_figure_is_shown_and_holds():
    finding = rule(Delay).judge(evidence(loss=2.0))
    assert (finding.ok, finding.figure, finding.threshold) == (True, 9.0, None)
    assert finding.expected == "no floor (min_return and max_loss are null)"
    alone = rule(Delay, loss=1.0).judge(evidence(loss=2.0))
    assert alone.expected == "no floor (min_return is null, and there is no champion)"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_mean_that_is_not_finite_is_refused(bad):
    for floor in (None, -1e9):
        finding = rule(Delay, floor=floor).judge(given_evidence((1.0, bad)))
        assert (finding.ok, finding.figure) == (False, None)
        assert "not a finite number" in finding.advice


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("floor", "words"), [(None, "min_return is null"), (9.0, "min_return")])
def test_a_champion_whose_mean_is_not_finite_sets_no_floor(bad, floor, words):
    finding = rule(Delay, floor=floor, loss=1.0).judge(given_evidence((10.0,), (1.0, bad)))
    assert (finding.ok, finding.threshold) == (True, floor)
    assert f"({words}, and the champion's is {bad})" in finding.expected


@pytest.mark.parametrize("order", [(0.5, 2.0), (2.0, 0.5)])
def test_the_worst_factor_decides(order):
    costs = ((Perturbation(mass=0.5), 1.0), (Perturbation(mass=2.0), 4.0))
    given = given_evidence((10.0, 12.0))
    candidate = Recording(given.candidate.nominal, given.candidate.contract, costs=costs)
    finding = rule(Mass, factors=list(order), floor=8.0).judge(replace(given, candidate=candidate))
    assert (finding.ok, finding.figure) == (False, 7.0)
    assert "with mass times 2" in finding.found


@pytest.mark.parametrize("kind", [Mass, Friction])
def test_a_task_without_a_model_is_said_in_words_and_holds(kind):
    finding = rule(kind, floor=1e9).judge(evidence(has_model=False))
    assert (finding.ok, finding.figure) == (True, None)
    assert finding.found.startswith("does not apply: example/Reach-v0 has no MuJoCo model whose")


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (Delay, {"periods": 0}),
        (Dropouts, {"probability": 1.0}),
        (ObservationNoise, {"deviation": 0.0}),
        (Mass, {"factors": []}),
        (Friction, {"factors": [-1.0]}),
        (Delay, {"periods": 1, "max_loss": -1.0}),
        (Delay, {"periods": 1, "episodes": 0}),
    ],
)
def test_what_perturbs_nothing_or_nonsense_is_refused(kind, keys):
    with pytest.raises(ConfigError, match=next(reversed(keys))):
        rule(kind, **keys)
