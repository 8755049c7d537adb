"""Every release rule of the product keeps the contract of a rule, and a rule that breaks it is named."""

import pytest
from pydantic import ConfigDict, Field

from sacpipe.core.errors import ContractError
from sacpipe.release.rules.rule import RETURN, RULES, Rule
from sacpipe.testing.rules import check_rule


@pytest.mark.parametrize("name", RULES.ours)
def test_our_rules_keep_the_contract(name):
    assert RULES.find(name).example().name == name
    check_rule(RULES.find(name))


class Least(Rule):
    """The lowest of four returns."""

    name: str
    floor: float

    @classmethod
    def example(cls):
        return cls(name="least", floor=5.0)

    def judge(self, evidence):
        lowest = float(evidence.candidate.returns(4).min())
        return self.at_least(lowest, self.floor, what="lowest return", unit=RETURN, advice="Train longer.")


def test_another_rule_keeps_it():
    check_rule(Least)


class Forgets(Least):
    floor: float = Field(default=5.0, exclude=True)

    @classmethod
    def example(cls):
        return cls(name="least", floor=6.0)


class NeedsMore(Least):
    def as_tree(self):
        return {"name": "least"}


class TakesAnyKey(Least):
    model_config = ConfigDict(extra="ignore")


class Raises(Least):
    def judge(self, evidence):
        return super().judge(evidence) if evidence.champion else 1 / 0


class SaysTrue(Least):
    def judge(self, evidence):
        return True


class AnotherName(Least):
    def judge(self, evidence):
        return super().judge(evidence).model_copy(update={"rule": "floor"})


class NoAdvice(Least):
    def judge(self, evidence):
        return super().judge(evidence).model_copy(update={"advice": ""})


class ManyLines(Least):
    def judge(self, evidence):
        return super().judge(evidence).model_copy(update={"found": "a\nb"})


class NoWords(Least):
    def judge(self, evidence):
        return super().judge(evidence).model_copy(update={"found": ""})


class TakesNaN(Least):
    def judge(self, evidence):
        values = evidence.candidate.returns(4)
        ok = not values.min() < self.floor
        return self._finding(f"{values}", "a floor", ok=ok, advice="Train longer.")


class WantsBetter(Least):
    def judge(self, evidence):
        found = super().judge(evidence)
        if evidence.champion is None or not found.ok:
            return found
        is_better = evidence.candidate.returns(4).mean() > evidence.champion.returns(4).mean()
        return found if is_better else self.refuses("equal", expected="better", advice="Train longer.")


class Counts(Least):
    def judge(self, evidence):
        calls.append(1)
        return super().judge(evidence).model_copy(update={"found": f"{len(calls)} calls"})


calls: list[int] = []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Forgets, "a config that JSON keeps, found"),
        (NeedsMore, "a config that JSON keeps, found 1 validation error"),
        (TakesAnyKey, "an unknown key refused"),
        (Raises, r"judge to raise nothing, found ZeroDivisionError"),
        (SaysTrue, r"a Finding of judge\(\), found True"),
        (AnotherName, "its own name in the finding, found 'floor'"),
        (NoAdvice, "advice with a refusal"),
        (ManyLines, "one line of at most 1000 characters as `found`"),
        (NoWords, "words in `found`"),
        (TakesNaN, "a refusal of a return that is nan"),
        (WantsBetter, "the champion's equal to hold"),
        (Counts, "equal findings twice"),
    ],
)
def test_a_rule_that_breaks_the_contract_is_named(rule, message):
    with pytest.raises(
        ContractError, match=rf"release rule 'least' breaks the contract of a rule.*({message})"
    ):
        check_rule(rule)
