"""The page of a verdict, and its plots in the report: what is drawn, and that nothing foreign runs."""

import pytest
from test_report_page import Reader, assert_sound

from sacpipe.release.verdict import Verdict
from sacpipe.report.verdict_charts import verdict_plots
from sacpipe.report.verdict_page import write_verdict_page

CANDIDATE, CHAMPION = (10.0, 12.0, 9.0, 11.0), (9.0, 12.5, 9.0)


def finding(rule="floor", **changes):
    tree = {
        "rule": rule,
        "expected": "floor 9,300",
        "found": "mean return 9,359.81",
        "ok": True,
        "figure": 10.0,
        "threshold": 8.0,
        "unit": "return",
        "advice": "",
    }
    return tree | changes


def verdict(*findings, candidate=CANDIDATE, champion=CHAMPION, **changes):
    tree = {
        "format_version": 1,
        "accepted": all(one["ok"] for one in findings),
        "mode": "enforce",
        "model": "pole",
        "version": 3,
        "candidate": "a" * 64,
        "champion": "b" * 64,
        "commit": None,
        "findings": list(findings),
        "episodes": 1234,
        "time": "2026-01-01T00:00:00+00:00",
        "scores": {"candidate": list(candidate), "champion": list(champion)},
    }
    return Verdict.parse(tree | changes)


def captions(found):
    return [plot.caption for plot in verdict_plots(found)]


def test_there_is_a_plot_of_what_has_numbers():
    compared = finding("champion", figure=0.5, interval=[-0.25, 1.25])
    by_seed, differences, bars = captions(verdict(finding(), compared, finding("delay", figure=7.0)))
    assert by_seed.startswith("Return of each of 4 episodes")
    assert "the champion on the same seeds (3)" in by_seed
    assert differences.startswith("Candidate minus champion on the same 3 seeds; the band is the interval of")
    assert "\u22120.2 to 1.2" in differences
    assert "delay 7. The line is the unperturbed mean, 10.5" in bars


def test_without_a_champion_or_a_perturbation_less_is_drawn():
    (by_seed,) = captions(verdict(finding(), champion=()))
    assert by_seed == "Return of each of 4 episodes, by the robot's own runtime: candidate in green."
    for unknown in ((), (None, None)):
        assert captions(verdict(finding("delay"), candidate=unknown, champion=unknown)) == []
    assert captions(verdict(finding("delay", figure=None), champion=()))[1:] == []


@pytest.mark.parametrize(
    "found",
    [
        verdict(finding("delay"), candidate=(5.0,), champion=(5.0,)),
        verdict(finding("mass", threshold=None), candidate=(0.0, 0.0), champion=(0.0, 0.0)),
        verdict(finding("mass", figure=-1e9), candidate=(-1e9, -2e9), champion=()),
        verdict(finding("delay"), candidate=tuple(map(float, range(500))), champion=()),
        verdict(finding("delay"), candidate=(1.0, None), champion=(None, 2.0)),
    ],
)
def test_every_plot_is_well_formed(found):
    for plot in verdict_plots(found):
        assert Reader(plot.drawing).found


def test_the_page_has_word_rules_advice_and_origin(tmp_path):
    broken = finding("dropouts", ok=False, figure=7.0, advice="Train `longer`.")
    path = write_verdict_page(verdict(finding(), broken, commit="c" * 40), tmp_path / "verdict.html")
    text = Reader(path.read_text()).text
    assert "pole version 3" in text
    assert "Refused 1 of 2 rules of the release gate does not hold." in text
    assert text.index("dropouts") < text.index("floor expected floor 9,300 found mean return 9,359.81")
    assert "Train longer ." in text
    assert "1,234 episodes" in text
    assert path.read_text().count("c" * 40) == 2
    before = path.read_bytes()
    write_verdict_page(verdict(finding(), broken, commit="c" * 40), path)
    assert path.read_bytes() == before


def test_modes_and_a_missing_champion_are_said(tmp_path):
    off = write_verdict_page(verdict(mode="off", champion=()).replace(champion=None), tmp_path / "off.html")
    assert "release.mode is off: no rule was applied." in Reader(off.read_text()).text
    assert "champion none" in Reader(off.read_text()).text
    dry = verdict(finding(ok=False), mode="dry_run")
    page = write_verdict_page(dry, tmp_path / "dry.html").read_text()
    assert "Would be refused" in Reader(page).text


def test_foreign_texts_are_shown_and_never_run(tmp_path):
    hostile = finding("<script>alert(1)</script>", found="</li><img src=x>", ok=False, advice="<b onclick=x>")
    page = write_verdict_page(verdict(hostile, model="<h1>"), tmp_path / "page.html").read_text()
    reader = Reader(page)
    assert "<script>alert(1)</script>" in reader.text
    assert not {"script", "img"} & {tag for tag, _ in reader.found}


@pytest.mark.slow
def test_the_report_has_the_plots_of_its_verdict(fresh):
    numbers = {"figure": 10.0, "threshold": 8.0, "unit": "return", "advice": ""}
    rule = {"rule": "delay", "expected": "floor 8", "found": "mean return 10", "ok": True} | numbers
    page = fresh.page(reasons=[rule], scores={"candidate": [10.0, 11.0], "champion": []})
    text = assert_sound(page).text
    assert "Release gate 10 episodes by the robot's own runtime with its guards" in text
