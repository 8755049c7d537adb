"""Numbers, axes, curves and drawings, against arithmetic done by hand."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from sacpipe.report import numbers
from sacpipe.report.charts import LARGE, Chart, Series, draw
from sacpipe.report.curves import MAX_POINTS, Point, bucketed, evaluation_points, mean_interval, thinned
from sacpipe.report.markup import Markup, tag
from sacpipe.report.scales import fit, span


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
        (9359.8123, 0.17, "9,359.81"),
        (5842.345, 250.0, "5,842"),
        (-0.0001, 10.0, "0"),
    ],
)
def test_numbers_are_short_and_say_enough(value: float, resolution: float | None, shown: str):
    assert numbers.number(value, resolution=resolution) == shown


def test_intervals_sizes_and_ticks_read_well():
    assert numbers.interval(9359.71, 9359.85) == "9,359.71 to 9,359.85"
    assert numbers.interval(5.0, 5.0) == "5 to 5"
    assert [numbers.size(value) for value in (248, 19_200_000, 3.2e12)] == ["248 B", "19.2 MB", "3.2 TB"]
    assert numbers.tick_labels([0, 50_000, 100_000]) == ["0", "50k", "100k"]
    assert numbers.tick_labels([0, 2.5e6, 5e6]) == ["0", "2.5M", "5.0M"]
    assert numbers.tick_labels([-0.5, 0, 0.5]) == ["\u22120.5", "0", "0.5"]


def test_axis_leaves_a_little_air_and_ticks_round_values():
    scale = fit([-300.0, 5700.0], 100.0, 0.0, num_ticks=5)
    assert (scale.low, scale.high) == (-540.0, 5940.0)  # 4% of 6000 at both ends
    assert scale.ticks == (0.0, 2000.0, 4000.0)
    assert scale(5940.0) == 0.0
    assert scale(-540.0) == 100.0
    assert scale(2700.0) == pytest.approx(50.0)


def test_axis_begins_at_zero_where_the_values_come_near_it():
    assert fit([3.0, 103.0], 0.0, 1.0, num_ticks=4).low == 0.0
    assert fit([50.0, 103.0], 0.0, 1.0, num_ticks=4).low == pytest.approx(47.88)
    assert fit([-103.0, -3.0], 0.0, 1.0, num_ticks=4).high == 0.0


def test_axis_of_decades_is_logarithmic_only_where_allowed():
    values = [0.012, 4.0, 900.0]
    scale = fit(values, 0.0, 5.0, num_ticks=4, may_log=True)
    assert scale.ticks == (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    assert scale(1.0) == pytest.approx(2.0)
    assert [label for _, label in scale.labelled] == ["0.01", "0.1", "1", "10", "100", "1,000"]
    assert not fit(values, 0.0, 5.0, num_ticks=4).is_log
    assert not fit([-1.0, 900.0], 0.0, 5.0, num_ticks=4, may_log=True).is_log


def test_axis_of_steps_ends_with_the_last_step():
    assert span(20_000, 0.0, 10.0, num_ticks=4).ticks == (0.0, 5000.0, 10_000.0, 15_000.0, 20_000.0)
    assert span(0, 0.0, 10.0, num_ticks=4)(0.0) == 0.0


@pytest.mark.parametrize("seed", range(40))
def test_every_axis_is_finite_increasing_and_holds_its_values(seed: int):
    random = np.random.default_rng(seed)
    values = (
        random.normal(0, 10.0 ** random.integers(-30, 60), random.integers(1, 6)) + random.normal()
    ).tolist()
    scale = fit(values, 10.0, 210.0, num_ticks=5, may_log=bool(seed % 2))
    assert 1 <= len(scale.ticks) <= 12
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert all(10.0 <= scale(value) <= 210.0 for value in [*values, *scale.ticks])
    assert len(numbers.tick_labels(list(scale.ticks))) == len(set(numbers.tick_labels(list(scale.ticks))))


def test_bootstrap_interval_of_two_values_spans_both():
    # Means of two draws from (0, 2) are 0, 1, 2 with chances 1/4, 1/2, 1/4: the outer 2.5% lie at 0 and 2.
    assert mean_interval([0.0, 2.0], 0.95) == (0.0, 2.0)
    assert mean_interval([0.0, 2.0], 0.40) == (1.0, 1.0)
    assert mean_interval([7.5], 0.95) == (7.5, 7.5)
    assert mean_interval([7.5, 7.5], 0.95) == (7.5, 7.5)


def test_evaluation_points_are_means_in_order_of_steps():
    points = evaluation_points([(200, 4.0), (100, 1.0), (200, 6.0), (100, 3.0)], 0.95)
    assert points == [Point(100, 2.0, 1.0, 3.0), Point(200, 5.0, 4.0, 6.0)]


def test_long_curves_keep_their_ends_and_extremes():
    rows = [(float(n), 0.0) for n in range(100_000)]
    rows[4321] = (4321.0, 99.0)
    points = bucketed(rows)
    assert len(points) == MAX_POINTS
    assert max(point.high for point in points) == 99.0
    assert thinned(range(100_000), 5) == [0, 25_000, 50_000, 74_999, 99_999]
    assert thinned([1, 2], 5) == [1, 2]


def test_a_line_lies_where_its_values_say():
    size = LARGE[0]._replace(width=160.0, height=140.0, left=10.0, right=50.0, top=20.0, bottom=20.0)
    line = Series(
        "value",
        "signal",
        [Point(0, 0.0, 0.0, 0.0), Point(50, 100.0, 100.0, 100.0), Point(100, 50.0, 50.0, 50.0)],
    )
    drawing = ET.fromstring(draw(Chart("a label", "m", 100, [line]), size))  # noqa: S314 - our own drawing
    path = drawing.find(".//*[@class='line signal']/*[@d]")
    # 100 units of width for 100 steps; 100 of height for 0 to 104, upside down.
    assert path is not None
    assert path.get("d") == "M10.0,120.0L60.0,23.8L110.0,71.9"


def test_text_is_escaped_and_markup_is_not():
    assert tag("p", "a < b", Markup("<i>c</i>"), None, ["d", [1, 2.5]], title='"') == (
        '<p title="&quot;">a &lt; b<i>c</i>d12.5</p>'
    )
    assert tag("rect", x=1.0, y=2.345, rx=-0.001, hidden=True, fill=None, stroke_width=False) == (
        '<rect x="1" y="2.35" rx="0" hidden=""></rect>'
    )
