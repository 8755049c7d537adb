"""Numbers, points and charts, against arithmetic done by hand."""

import math
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.report import numbers
from sacpipe.report.charts import COLOURS, LARGE, SMALL, Chart, line_chart, strip_plot
from sacpipe.report.points import MAX_POINTS, Line, Point, bucketed, evaluation_points, thinned

POINTS = [Point(0, 0.0, 0.0, 0.0), Point(50, 100.0, 100.0, 100.0), Point(100, 50.0, 50.0, 50.0)]


@pytest.mark.parametrize(
    ("value", "resolution", "shown"),
    [
        (5842.345, None, "5,842"),
        (-312.26, None, "\u2212312.3"),
        (0.05, None, "0.05"),
        (1.0, None, "1"),
        (0.0, None, "0"),
        (3.1e-7, None, "3.1\u2009\u00d7\u200910⁻⁷"),
        (-2.5e12, None, "\u22122.5\u2009\u00d7\u200910¹²"),
        (1e-6, None, "10⁻⁶"),
        (-1e-6, None, "\u221210⁻⁶"),
        (9359.8123, 0.17, "9,359.81"),
        (5842.345, 250.0, "5,842"),
        (-0.0001, 10.0, "0"),
    ],
)
def test_numbers_are_short_and_say_enough(value: float, resolution: float | None, shown: str):
    assert numbers.number(value, resolution) == shown


def test_intervals_sizes_and_ticks_read_well():
    assert numbers.interval(9359.71, 9359.85) == "9,359.71 to 9,359.85"
    assert numbers.interval(5.0, 5.0) == "5 to 5"
    assert [numbers.size(value) for value in (248, 19_200_000, 3.2e12)] == ["248 B", "19.2 MB", "3.2 TB"]
    assert numbers.tick_labels([0, 50_000, 100_000]) == ["0", "50k", "100k"]
    assert numbers.tick_labels([0, 2.5e6, 5e6]) == ["0", "2.5M", "5.0M"]
    assert numbers.tick_labels([-0.5, 0, 0.5]) == ["\u22120.5", "0", "0.5"]


def test_evaluation_points_are_means_in_order_of_steps():
    """Means of two draws from (4, 6) are 4, 5, 6 with chances 1/4, 1/2, 1/4: the outer 2.5% lie at 4 and 6."""
    config = EvaluationConfig(episodes=2, bootstrap_resamples=1000, confidence=0.95, video=None)
    points = evaluation_points([(200, 4.0), (100, 1.0), (200, 6.0), (100, 1.0)], config)
    assert points == [Point(100, 1.0, 1.0, 1.0), Point(200, 5.0, 4.0, 6.0)]


def test_long_curves_keep_their_ends_and_extremes():
    rows = [(float(n), 0.0) for n in range(100_000)]
    rows[4321] = (4321.0, 99.0)
    points = bucketed(rows)
    assert len(points) == MAX_POINTS
    assert max(point.high for point in points) == 99.0
    assert thinned(range(100_000), 5) == [0, 25_000, 50_000, 74_999, 99_999]
    assert thinned([1, 2], 5) == [1, 2]


def parsed(markup):
    """Return each drawing, parsed as strict XML."""
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", markup)]  # noqa: S314


def drawings(chart, sizes=SMALL):
    """Return a chart for a wide and for a narrow window."""
    return parsed(line_chart(chart, sizes))


def texts(drawing):
    """Return what is written in a drawing, with its place."""
    found = [one for one in drawing.iter() if one.tag.endswith("text")]
    return {one.text: (float(one.get("x")), float(one.get("y"))) for one in found}


def lines_of(drawing, colour):
    """Return the corners of each line in a colour."""
    found = [one.get("d") for one in drawing.iter() if f"stroke: var(--{colour})" in one.get("style", "")]
    paths = [re.findall(r"(-?[\d.]+) (-?[\d.]+)", path) for path in found if path and "C" not in path]
    return [[(float(x), float(y)) for x, y in path] for path in paths]


def test_a_line_lies_where_the_axes_say():
    drawing, _ = drawings(Chart("A title", "m", 100, [Line("value", "signal", POINTS)]))
    (line,) = lines_of(drawing, "signal")
    written = texts(drawing)
    assert {"m", "environment steps", "0", "50", "100"} <= written.keys()
    right = written["environment steps"][0]
    assert line[2][0] == pytest.approx(right, abs=0.1)  # the axis ends with the last step
    assert line[1][0] == pytest.approx((line[0][0] + right) / 2, abs=0.1)
    assert line[0][1] == pytest.approx(246 - 46, abs=0.1)  # the axis begins at zero, 46 above the lower edge
    assert line[2][1] == pytest.approx((line[0][1] + line[1][1]) / 2, abs=0.1)
    assert line[1][1] == pytest.approx(30 + 170 * 4 / 104, abs=0.1)  # with room of 4% above


def test_an_axis_of_decades_is_logarithmic_only_where_allowed():
    points = [Point(n, value, value, value) for n, value in enumerate((0.012, 4.0, 900.0))]
    for may_log, is_log in ((True, True), (False, False)):
        (wide, _) = drawings(Chart("A title", "m", 2, [Line("value", "signal", points)], may_log=may_log))
        assert ("m, logarithmic" in texts(wide)) is is_log
        assert ({"0.01", "1", "100"} <= texts(wide).keys()) is is_log
    negative = [*points, Point(3, -1.0, -1.0, -1.0)]
    (wide, _) = drawings(Chart("A title", "m", 3, [Line("value", "signal", negative)], may_log=True))
    assert "m" in texts(wide)


def test_labels_at_the_ends_do_not_overlap():
    near = [
        Line(name, name, [Point(100, 5.0 + n / 100, 4.0, 6.0)]) for n, name in enumerate(list(COLOURS)[4:7])
    ]
    (wide, narrow) = drawings(Chart("A title", "m", 100, near), LARGE)
    heights = sorted(
        y for text, (_, y) in texts(wide).items() if text.startswith(("deter", "stoch", "bundle"))
    )
    assert len(heights) == 3
    assert min(np.diff(heights)) >= 13
    assert not [text for text in texts(narrow) if text.startswith("deter")]


@pytest.mark.parametrize("seed", range(20))
def test_any_values_give_a_chart_within_its_frame(seed: int):
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.integers(-30, 60)
    values = (random.normal(0, scale, random.integers(1, 6)) + random.normal()).tolist()
    points = [Point(n, value, value, value) for n, value in enumerate(values)]
    chart = Chart(
        "A title", "m", len(points) - 1, [Line("value", "stochastic", points)], may_log=bool(seed % 2)
    )
    for drawing in drawings(chart):
        width, height = map(float, drawing.get("viewBox").split()[2:])
        for line in lines_of(drawing, "stochastic"):
            assert all(0 <= x <= width and 0 <= y <= height for x, y in line)
        assert not re.search(r"\b(nan|inf)\b", ET.tostring(drawing, encoding="unicode"))


def test_a_drawing_has_texts_and_colours_of_the_page_and_nothing_of_the_machine():
    chart = Chart(
        "A <title> & more", "$\\frac <b>", 100, [Line("value", "signal", POINTS)], dots=[(10, 3.0)] * 600
    )
    text = line_chart(chart, LARGE)
    assert text == line_chart(chart, LARGE)
    assert "$\\frac &lt;b&gt;" in text
    assert "var(--signal)" in text
    for word in (*COLOURS.values(), "font-family:", "DejaVu", "atplotlib", "url(", "<style", "clip-path"):
        assert word not in text, word
    assert len(text) < 2 * 40_000
    assert all("A <title> & more" in drawing.get("aria-label") for drawing in drawings(chart))


def test_every_episode_is_a_dot_at_its_value():
    values = [float(n) for n in range(0, 101, 10)]
    text = strip_plot("return", {"bundle": (values, Point(0, 50.0, 40.0, 60.0))})
    drawing = parsed(text)[0]
    (episodes, interval, *_) = lines_of(drawing, "bundle")
    assert len(episodes) == 2 * len(values)
    assert math.isclose(episodes[-1][0] - episodes[0][0], 5 * (interval[1][0] - interval[0][0]), rel_tol=1e-3)
    crowded = strip_plot("return", {"bundle": ([*values, *[50.0] * 9], Point(0, 50.0, 40.0, 60.0))})
    (episodes, *_) = lines_of(parsed(crowded)[0], "bundle")
    assert len({y for x, y in episodes if x == episodes[12][0]}) >= 5


def test_lines_of_different_steps_share_a_table():
    lines = [
        Line("one", "signal", [Point(1, 5.0, 5.0, 5.0)]),
        Line("two", "signal", [Point(2, 6.0, 6.0, 6.0)]),
    ]
    environment = Environment(
        loader=PackageLoader("sacpipe.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"count": numbers.count, "thinned": thinned}
    table = environment.get_template("macros.html").module.values("Values", lines)
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", str(table))
    assert cells == ["Steps", "one", "two", "1", "5", "", "2", "", "6"]


def test_signs_that_xml_does_not_allow_are_replaced_in_a_drawing():
    points = [Point(1, 5.0, 5.0, 5.0), Point(2, 6.0, 6.0, 6.0)]
    lines = [Line("a\x07", "signal", points), Line("b\ud800", "signal", points)]
    drawing, *_ = drawings(Chart(title="t", unit="\x00", steps=2, lines=lines), LARGE)
    written = "".join(texts(drawing))
    assert written.count("\ufffd") == 3
