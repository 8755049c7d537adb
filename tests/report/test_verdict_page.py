"""The page of a verdict, and its plots in the report: what is drawn, and that nothing foreign runs."""

import re

import pytest
from test_report_page import Reader, assert_sound

from sacpipe.release.verdict import Verdict
from sacpipe.report.shortfall import shortfall
from sacpipe.report.verdict_charts import verdict_plots
from sacpipe.report.verdict_page import Origin, next_step, write_verdict_page

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
    assert differences == (
        "Candidate minus champion on the same 3 seeds. The band is the interval of the mean, -0.25 to 1.25, and "
        "the line in it the mean, 0.5. The bound 8 is above the plot."
    )
    assert bars.endswith("upright mark. delay 7 (floor 8).")


def test_without_a_champion_or_a_perturbation_less_is_drawn():
    (by_seed,) = captions(verdict(finding(), champion=()))
    assert by_seed == (
        "Return of each of 4 episodes, by the robot's own runtime: candidate as green discs. "
        "The dashed line is the floor 8."
    )
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


def test_every_plot_is_of_the_seeds_of_its_rule():
    floor = finding("floor", figure=11.0, threshold=5000.0, ok=False, episodes=2)
    compared = finding("champion", figure=0.25, threshold=-0.5, interval=[-0.25, 0.75], episodes=2)
    delay = finding("delay", figure=7.0, threshold=7.25, ok=False, episodes=3)
    by_seed, differences, bars = captions(verdict(floor, compared, delay))
    assert by_seed.endswith(
        "The green line is the mean of the first 2, 11. The floor 5,000 is above the plot; the mean is short "
        "by 4,989."
    )
    assert (
        "the interval of the mean after 2 pairs, -0.25 to 0.75, and the line in it the mean, 0.25."
        in differences
    )
    assert differences.endswith("The dashed line is the bound -0.5.")
    assert bars.endswith("delay 7 (unperturbed 10.33, floor 7.25, short by 0.25).")


@pytest.mark.slow
def test_a_threshold_is_drawn_where_it_is_near_and_else_named_at_its_side():
    def drawn(threshold):
        return str(verdict_plots(verdict(finding(figure=10.0, threshold=threshold, episodes=4)))[0].drawing)

    assert ["floor 9.5" in drawn(9.5), "floor 5,000 ↑" in drawn(5e3), "floor -5,000 ↓" in drawn(-5e3)] == [
        True
    ] * 3
    assert ["stroke-dasharray" in drawn(bound) for bound in (9.5, 5e3, -5e3)] == [True, False, False]


@pytest.mark.slow
def test_interval_and_mean_are_drawn_over_the_compared_pairs_only():
    def right_end(pairs):
        one = finding("champion", figure=0.5, threshold=-1.0, interval=[0.0, 1.0], episodes=pairs)
        page = str(verdict_plots(verdict(one, candidate=(1.0,) * 40, champion=(0.5,) * 40))[1].drawing)
        shape = r'<path id="\w+" d="([^"]*)"/></defs><g><use [^>]*var\(--signal\)'
        (band,) = re.findall(shape, page.partition("</svg>")[0])
        return max(float(x) for x in re.findall(r"[ML] ([\d.]+) ", band))

    assert right_end(40) - 64 == pytest.approx(2 * (right_end(20) - 64), abs=0.1)


def test_candidate_and_champion_differ_in_shape_and_what_fails_has_its_own_colour():
    ok, broken = finding("mass", figure=9.0), finding("delay", figure=7.0, ok=False)
    by_seed, _, bars = (str(plot.drawing) for plot in verdict_plots(verdict(ok, broken)))
    (diamond,) = set(re.findall(r'd="M ([^"]*) z " style="stroke: var\(--stochastic\)', by_seed))
    assert diamond.count(" L ") == 3
    assert ("var(--no)" in bars, "var(--bundle)" in bars, "var(--stochastic)" in bars) == (True, True, False)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (finding(ok=False, figure=79.7, threshold=5000.0), "short by 4,920.3"),
        (finding(ok=False, figure=0.75, threshold=0.5, unit="share"), "over by 25 %"),
        (
            finding(ok=False, figure=-1.0, threshold=-2.0, interval=[-3.5, 1.5]),
            "too uncertain: its interval begins 1.5 below the bound",
        ),
        (finding(ok=False, figure=None, found="mean return nan"), "mean return nan"),
        (finding(ok=False, figure=None, threshold=None, found="no pool"), "no pool"),
    ],
)
def test_a_miss_is_said_with_its_distance(found, words):
    assert shortfall(verdict(found).findings[0]) == words


@pytest.mark.parametrize(
    ("changes", "origin", "words", "command"),
    [
        ({"commit": "c" * 40}, Origin(), "makes it the champion", 'sacpipe promote 3 --reason "why"'),
        ({}, Origin(), "No commit holds it yet", 'sacpipe promote 3 --reason "why"'),
        ({}, Origin(barred="rolled back"), "is barred", 'sacpipe promote 3 --again --reason "why"'),
        ({"mode": "dry_run"}, Origin(), "nothing is promoted", "sacpipe run"),
        ({"champion": "a" * 64}, Origin(), "nothing to promote", ""),
    ],
)
def test_an_accepted_verdict_says_the_command_that_promotes(changes, origin, words, command):
    step = next_step(verdict(finding()).replace(**changes), origin)
    assert (words in step.text, step.command) == (True, command)


@pytest.mark.parametrize(
    ("changes", "origin", "start", "command"),
    [
        (
            {},
            Origin(champion_version=2),
            "Robots keep the champion, version 2, and `sacpipe promote`",
            "sacpipe run",
        ),
        (
            {"champion": None},
            Origin(),
            "There is no champion, and `sacpipe promote` refuses it too. ",
            "sacpipe run",
        ),
        (
            {"mode": "dry_run"},
            Origin(),
            "Robots keep the champion, and nothing is promoted. Do",
            "sacpipe run",
        ),
        ({"champion": "a" * 64}, Origin(), "Its bundle is the champion's", 'sacpipe rollback --reason "why"'),
    ],
)
def test_a_refused_verdict_says_what_robots_run_and_how_to_get_further(changes, origin, start, command):
    broken = finding("delay", ok=False), finding("mass", ok=False)
    step = next_step(verdict(*broken).replace(**changes), origin)
    assert (step.text.startswith(start), step.command) == (True, command)


def test_the_only_broken_rule_gives_its_advice():
    step = next_step(verdict(finding(ok=False, advice="Train longer.")), Origin())
    assert step.text.endswith("refuses it too. Train longer. Then train the next candidate:")


def test_the_page_begins_with_the_word_what_failed_what_to_do_and_which_versions(tmp_path):
    broken = finding(ok=False, figure=79.7, threshold=5000.0)
    origin = Origin(2, "rolled back at noon by Eve: it trembles", "Ada <ada@example.org>")
    path = write_verdict_page(verdict(finding("mass"), broken), tmp_path / "verdict.html", origin)
    text = Reader(path.read_text()).text
    places = [
        text.index(words)
        for words in (
            "Refused floor: short by 4,920.3 1 of 2 rules",
            "What to do Robots keep the champion, version 2,",
            "Candidate version 3 (bundle aaaaaaaaaaaa",
            "Champion version 2 (bundle bbbbbbbbbbbb",
            "Judged 2026-01-01 00:00:00 UTC, mode enforce",
            "Commit none yet",
            "Page by Ada <ada@example.org>",
            "Barred rolled back at noon by Eve: it trembles",
            "floor expected",
            "mass expected",
        )
    ]
    assert places == sorted(places)
    assert "max-width: 12.1ch; overflow: clip; text-overflow: clip" in path.read_text()


@pytest.mark.slow
def test_the_page_has_word_rules_advice_and_origin(tmp_path):
    broken = finding("dropouts", ok=False, figure=7.0, advice="Train `longer`.")
    path = write_verdict_page(verdict(finding(), broken, commit="c" * 40), tmp_path / "verdict.html")
    text = Reader(path.read_text()).text
    assert "pole version 3" in text
    assert "Refused dropouts: short by 1 1 of 2 rules of the release gate does not hold." in text
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
    assert "Champion none" in Reader(off.read_text()).text
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
