"""`check_env` accepts environments that keep the contract, and names each rule that one breaks."""

import pytest
import toy_environments as toys

from sacpipe.core.errors import ContractError
from sacpipe.envs import find_task
from sacpipe.testing.environments import check_env, env_results


def test_one_episode_cannot_show_a_difference():
    with pytest.raises(ValueError, match="at least 2"):
        check_env(find_task("point-mass-v0"), episodes=1)


class Section:
    """A task section around one of the environments above."""

    name = "toy/walk"

    def __init__(self, kind):
        self.kind = kind
        self.metrics = ("height",) if issubclass(kind, toys.Measured) else ()

    def make(self, render_size=None):
        del render_size
        return self.kind()


BROKEN = [
    (toys.OneBuffer, "changed by a later step"),
    (toys.GivesItsState, "writing into a returned observation"),
    (toys.KeepsTheAction, "a used action changed"),
    (toys.GivesAnArray, "an observation is a ndarray, not an Observation"),
    (toys.OtherTerms, "other terms than the specification"),
    (toys.DoublePrecision, "vector is float64, not float32"),
    (toys.TooLong, r"vector has shape \(3,\), not \(2,\)"),
    (toys.NotFinite, "not finite"),
    (toys.ReadOnly, "read-only"),
    (toys.IgnoresSeed, "two different seeds"),
    (toys.OneStream, "seed 0 gave another episode"),
    (toys.RemembersEpisodes, "seed 0 gave another episode"),
    (toys.BothFlags, "both terminated and truncated"),
    (toys.NumpyFlags, "not bool"),
    (toys.NumpyReward, "a reward is"),
    (toys.Early, "truncated at step 9"),
    (toys.Endless, "passed without truncation"),
    (toys.GoesOn, "after the end"),
    (toys.StartsItself, "before reset"),
    (toys.TakesAnyAction, "is accepted"),
    (toys.DoesNotClip, "differs from the clipped"),
    (toys.ChangesAction, "changed the action"),
    (toys.RewardsDiffer, r"compute_rewards\(\) and step\(\) disagree"),
    (toys.EndsDiffer, r"compute_rewards\(\) and step\(\) disagree"),
    (toys.StaysOpen, r"after close\(\)"),
    (toys.OtherName, "spec.task is 'toy/run'"),
    (toys.TwoSpecifications, "two instances of the task have different specifications"),
    (toys.OneImage, "changed by a later step"),
    (toys.GivesItsImage, "writing into a returned observation"),
    (toys.SmallImage, r"the image 'eye' has shape \(2, 4, 1\), not \(4, 4, 1\)"),
    (toys.FloatImage, "the image 'eye' is float64, not uint8"),
    (toys.NoImage, r"has the images \[\], not \['eye'\]"),
    (toys.OtherGoal, r"achieved goal has the shapes \[\(2,\)\], and the desired goal \[\(3,\)\]"),
    (toys.NoAchievedGoal, r"achieved goal has the shapes \[\], and the desired goal"),
    (toys.BlindCritic, "no observation term is of the group `critic`"),
    (toys.OtherMetric, r"a step has the metrics \['width'\], not \['height'\]"),
    (toys.MoreMetrics, r"a step has the metrics \['height', 'width'\], not \['height'\]"),
    (toys.NumpyMetric, r"the metric 'height' is np.float64\(1.0\), not a finite float"),
    (toys.NoMetricNames, r"metric_names is \(\), not \('height',\)"),
    (toys.NewMetric, "seed 0 gave another episode"),
    (toys.InexactBound, "action 'joint_0' has the bound -0.1, which is no float32"),
]


@pytest.mark.parametrize("kind", [toys.Walk, toys.Pictured, toys.Goal, toys.Asymmetric, toys.Measured])
def test_check_accepts_what_keeps_the_contract(kind):
    check_env(Section(kind))
    assert all(result.is_checked for result in env_results(Section(kind)))


@pytest.mark.parametrize(("kind", "message"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_check_finds_what_is_broken(kind, message):
    with pytest.raises(ContractError, match=message) as caught:
        check_env(Section(kind))
    assert "toy/walk" in str(caught.value)
