"""Scenes of the release gate, each written once, on the registry of a folder, on MLflow with SQLite, and on a server.

`sacpipe promote` judges a candidate against the champion by the bundles that the registry gives. Another reader
then finds the verdict there, on the server a robot's account, and the champion.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from gated_project import JACKPOT, OVERFLOWING, UNDEFINED, GatedProject, Policy
from mlflow_on_postgresql import Server
from settled import faults
from sites import Local, Remote, Site, become_operator, with_sqlite

from sacpipe.core.errors import ReleaseError
from sacpipe.core.files import read_json
from sacpipe.release.verdict import VERDICT_TAG, Verdict, verdict_of, verdict_tags
from sacpipe.tracking.registry import VersionRecord

MOVE = ["intended", "moved", "proven"]
CHAMPION = Policy(push=0.25)
"""Its return is 0.5 in every episode."""
FLOOR = "{name: floor, min_return_mean: 0.125, episodes: 10}"
NOT_WORSE = "{name: champion, must_be: not_worse, margin: 0.125, alpha: 0.05, looks: [10, 20]}"
BETTER = "{name: champion, must_be: better, margin: 0.0, alpha: 0.05, looks: [20]}"
CONTRACT = "{name: same_contract}"
SCENES = (
    "worse",
    "equal",
    "better",
    "not_finite",
    "no_champion",
    "other_contract",
    "lucky_seed",
)


class Gate:
    """The gate of a project on a site, and what holds after every verdict."""

    def __init__(self, gated: GatedProject) -> None:
        self.gated = gated
        self._champion: str | None = None
        self._kinds: list[str] = []

    def accepts(self, policy: Policy, *rules: str, mode: str = "enforce") -> Verdict | None:
        """Return the verdict on a policy, which becomes champion; None where it is not judged."""
        version, code, seen = self._promoted(policy, *rules, mode=mode)
        assert (code, f"champion: version {version.version} " in seen) == (0, True), seen
        self._champion = version.bundle_digest
        return self._found(version, *MOVE)

    def refuses(self, policy: Policy, *rules: str) -> dict[str, str]:
        """Return what each rule that refuses a policy has found. The champion stays."""
        version, code, seen = self._promoted(policy, *rules)
        refused = (
            f"version {version.version} (bundle {version.bundle_digest[:12]}) is refused by the release gate"
        )
        assert (code, refused in seen) == (1, True), seen
        verdict = self._found(version, "refused")
        assert verdict is not None
        assert (verdict.accepted, verdict.word) == (False, "refused")
        return {finding.rule: finding.found for finding in verdict.refused}

    def newest(self) -> Verdict | None:
        """Return the verdict of the newest record; None where it was not judged."""
        tip = self.gated.project.releases().history().tip
        if tip is None or tip.verdict is None:
            return None
        path = self.gated.root / "release" / tip.model / "verdicts" / f"{tip.verdict}.json"
        return verdict_of(read_json(path, ReleaseError))

    def _promoted(self, policy: Policy, *rules: str, mode: str = "enforce") -> tuple[VersionRecord, int, str]:
        version = self.gated.run(policy, *rules, mode=mode)
        return version, *self.gated.promote()

    def _found(self, version: VersionRecord, *kinds: str) -> Verdict | None:
        """Return the verdict of the newest record, after a look at the registry as another reader."""
        project, registry = self.gated.project, self.gated.reader()
        self._kinds += kinds
        assert (project.kinds(), list(faults(project))) == (self._kinds, [])
        champion = registry.alias(project.model, "champion")
        assert (champion and champion.bundle_digest) == self._champion
        if champion is not None:
            assert self.gated.site.source("champion").resolve().digest == self._champion
        verdict = self.newest()
        if verdict is None:
            return None
        assert (verdict.candidate, verdict.version) == (version.bundle_digest, version.version)
        found = registry.version(project.model, version.version)
        assert found.tags[VERDICT_TAG] == verdict_tags(verdict)[VERDICT_TAG]
        assert f"**{verdict.word.capitalize()}**, in mode `enforce`" in found.description
        return verdict


def worse(gate: Gate) -> None:
    """A return lower by twice the margin in every episode."""
    gate.accepts(CHAMPION, FLOOR)
    assert gate.refuses(Policy(push=0.125), FLOOR, NOT_WORSE, CONTRACT) == {
        "champion": "worse by 0.25 on the same 10 seeds (95 % bounds -0.25 and -0.25)"
    }


def equal(gate: Gate) -> None:
    """Another bundle of the same actions is not worse, and not better."""
    gate.accepts(CHAMPION, FLOOR)
    same = Policy(push=0.25, rows=3)
    assert gate.refuses(same, FLOOR, BETTER) == {"champion": "equal to the champion on all of 20 seeds"}
    verdict = gate.accepts(same, FLOOR, NOT_WORSE, CONTRACT)
    assert verdict is not None
    assert verdict.scores.candidate == verdict.scores.champion == (0.5,) * 20
    assert verdict.findings[1].found == "equal to the champion on all of 20 seeds"


def better(gate: Gate) -> None:
    """A return higher in every episode, where it must be."""
    gate.accepts(CHAMPION, FLOOR)
    verdict = gate.accepts(Policy(push=0.375), FLOOR, BETTER, CONTRACT)
    assert verdict is not None
    assert verdict.findings[1].found == "better by 0.25 on the same 20 seeds (95 % bounds 0.25 and 0.25)"
    assert (verdict.scores.candidate, verdict.scores.champion) == ((0.75,) * 20, (0.5,) * 20)


def not_finite(gate: Gate) -> None:
    """A reward that is no number, and rewards whose sum is infinite."""
    gate.accepts(CHAMPION, FLOOR)
    found = gate.refuses(Policy(push=UNDEFINED), FLOOR, NOT_WORSE)
    assert [*found] == ["floor", "champion"]
    assert all("expected a finite reward, found nan" in why for why in found.values())
    assert gate.refuses(Policy(push=OVERFLOWING), FLOOR, NOT_WORSE) == {
        "floor": "mean return inf (10 episodes)",
        "champion": "not finite: the candidate's return of seed 0 is inf",
    }


def no_champion(gate: Gate) -> None:
    """The floor alone decides."""
    assert gate.refuses(Policy(push=0.03125), FLOOR, BETTER, CONTRACT) == {
        "floor": "mean return 0.06 (10 episodes)"
    }
    verdict = gate.accepts(CHAMPION, FLOOR, BETTER, CONTRACT)
    assert verdict is not None
    none = "not compared: there is no champion"
    assert [finding.found for finding in verdict.findings] == ["mean return 0.5 (10 episodes)", none, none]
    assert (verdict.champion, verdict.scores.champion) == (None, ())


def other_contract(gate: Gate) -> None:
    """The champion's robots have another period; it was released with the gate off."""
    assert gate.accepts(Policy(push=0.25, spec={"control_period_s": 0.5}), mode="off") is None
    assert gate.refuses(Policy(push=0.375), FLOOR, CONTRACT) == {
        "same_contract": "differs in the control period"
    }


def lucky_seed(gate: Gate) -> None:
    """The mean is 9.86 higher by one episode; the candidate is worse in the nineteen others."""
    gate.accepts(CHAMPION, FLOOR)
    *_, second, luckiest = sorted(gate.gated.places(20))
    gain = 4 / (luckiest - second)
    lucky = Policy(gain=gain, push=JACKPOT + 1 - gain * luckiest, low=0.1875)
    assert gate.refuses(lucky, FLOOR, BETTER)["champion"].startswith(
        "better by 9.86 on the same 20 seeds (95 % bounds -"
    )
    verdict = gate.newest()
    assert sorted(verdict.scores.candidate) == [0.375] * 19 + [200.0]
    assert verdict.scores.champion == (0.5,) * 20


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str, Site], None]:
    """Play a scene on a site."""
    become_operator(monkeypatch)
    return lambda scene, site: globals()[scene](Gate(GatedProject(site, monkeypatch, capsys)))


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_on_a_folder(memory_folder: Path, play: Callable[[str, Site], None], scene: str) -> None:
    """The scene on a folder's registry."""
    play(scene, Local(memory_folder, "folder"))


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", SCENES)
def test_on_mlflow_with_sqlite(
    tmp_path: Path, empty_ledger: Path, play: Callable[[str, Site], None], scene: str
) -> None:
    """The scene on the embedded ledger."""
    play(scene, with_sqlite(tmp_path, empty_ledger))


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", SCENES)
def test_on_a_server_with_accounts(
    tmp_path: Path,
    accounts_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    play: Callable[[str, Site], None],
    scene: str,
) -> None:
    """The scene on MLflow's server on PostgreSQL: the registrations are a trainer's, the promotions a promoter's."""
    play(scene, Remote(tmp_path, accounts_server, monkeypatch))
