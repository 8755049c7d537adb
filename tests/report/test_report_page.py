"""The page: sound, self-contained, safe, the same bytes every time, with the numbers a reader came for."""

import base64
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from sacpipe.core.files import sha256_bytes, sha256_file, write_bytes, write_json, write_text
from sacpipe.report import numbers

SECTIONS = (
    "verdict",
    "learning",
    "evaluation",
    "video",
    "signals",
    "throughput",
    "export",
    "lineage",
    "params",
)


class Reader(HTMLParser):
    """Collects tags and fails on one that is not closed in order."""

    VOID = frozenset({"meta", "wbr", "br", "hr", "col"})

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str):
        assert self.open.pop() == tag

    def handle_data(self, data: str):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All that is written on the page."""
        return " ".join(" ".join(self.words).split())

    def values(self, attribute: str) -> list[str]:
        """Return every value of an attribute, in order."""
        return [attrs[attribute] or "" for _, attrs in self.found if attribute in attrs]


def svgs(page: str) -> list[ET.Element]:
    """Return every drawing, parsed as strict XML."""
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]  # noqa: S314


def assert_sound(page: str) -> Reader:
    """Check the properties of every page, for any run."""
    reader = Reader(page)
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    assert [one for one in ids if one in SECTIONS] == list(SECTIONS)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form"} & {
        name for name, _ in reader.found
    }
    assert not [name for _, attrs in reader.found for name in attrs if name.startswith("on")]
    assert all(source.startswith("data:video/mp4;base64,") for source in reader.values("src"))
    assert {target.removeprefix("#") for target in reader.values("href")} <= set(ids)
    assert not re.search(r"url\(|@import", page)
    for drawing in svgs(page):
        for element in drawing.iter():
            for value in element.attrib.values():
                assert not re.search(r"\b(nan|inf)\b", value, re.IGNORECASE)
    assert not re.search(r"\b(nan|inf|None)\b", reader.text)
    return reader


@pytest.mark.slow
def test_page_is_one_sound_file_that_sends_no_request(project):
    page = project.page()
    reader = assert_sound(page)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    assert policy in reader.values("content")
    addresses = set(re.findall(r"\w+://[^\"'<> ]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a language, which no browser fetches


def test_every_drawing_is_well_formed_and_has_a_label(project):
    drawings = svgs(project.page())
    plots = [one for one in drawings if one.get("role") == "img" and one.get("viewBox") != "0 0 24 24"]
    assert len(plots) == 2 * 7  # learning, strips, four signals, lineage, each at two sizes
    assert all(len(one.get("aria-label") or "") > 20 for one in plots)


@pytest.mark.slow
def test_same_outputs_elsewhere_give_the_same_bytes_without_naming_the_folder(make_project, project):
    elsewhere = make_project().write()
    page = elsewhere.page()
    assert page == project.page()
    assert str(elsewhere.root) not in page


def test_header_has_verdict_and_main_numbers(project):
    summary = json.loads((project.workspace.evaluate / "metrics.json").read_text())["bundle"]
    text = Reader(project.page()).text
    assert "Accepted 2 of 2 rules of the release gate hold." in text
    around = numbers.interval(summary["return_ci_low"], summary["return_ci_high"])
    mean = numbers.number(
        summary["return_mean"], resolution=summary["return_ci_high"] - summary["return_ci_low"]
    )
    assert f"Return of the bundle {mean} 95% interval {around}" in text
    assert "Algorithm sac · 120,000 environment steps · seed 7" in text


def test_the_values_of_each_chart_are_a_table(project):
    text = Reader(project.page()).text
    curve = [line.split(",") for line in project.workspace.curve.read_text().splitlines()[1:]]
    first = [float(row[4]) for row in curve if row[:2] == ["0", "deterministic"]]
    mean = numbers.number(sum(first) / 5, 100)
    table = text.partition("Steps deterministic 95% interval stochastic 95% interval")[2]
    assert table.strip().startswith(f"0 {mean} ")
    assert "Steps Temperature Entropy of the policy Critic loss Mean Q-value" in text


def test_every_digest_of_the_chain_is_shown_in_full(project):
    page = project.page()
    bundle = project.workspace.export / "bundle"
    for path in [project.workspace.train / "policy.safetensors", *bundle.iterdir()]:
        assert sha256_file(path) in page
    assert "e" * 32 + ".dir" in page
    assert sha256_bytes(bundle.joinpath("manifest.json").read_bytes()) in page


def test_contract_is_shown_in_the_robots_terms(project):
    text = Reader(project.page()).text
    assert "pose 8 float32 rad qpos" in text
    assert "tip <height> 1 float32 rad qpos" in text
    assert "joint_0 N·m \u22121.5 1.5" in text
    assert "0.05 s, 20 Hz" in text
    assert "3.1 \u00d7 10⁻⁷ of the action range; the bound is 0.0001" in text


@pytest.mark.slow
def test_an_algorithm_without_temperature_has_charts_of_its_own_metrics(make_project):
    project = make_project()
    project.params["algorithm"] = {"name": "td3", "discount": 0.99, "target_noise": 0.2}
    project.signals = {
        name: project.signals["critic/q_mean"]
        for name in ("critic/loss", "actor/q_mean", "critic/value_bias", "zeta", "exploration/noise")
    }
    page = project.write(points=2, episodes=2, rows=5).page()
    reader = assert_sound(page)
    assert "Signals of the learner" in reader.text
    assert "Algorithm td3" in reader.text
    shown = re.findall(
        r"<code>([a-z]+(?:/[a-z_]+)?)</code>", page.partition('id="signals"')[2].partition("<section")[0]
    )
    assert shown == ["critic/loss", "actor/q_mean", "critic/value_bias", "exploration/noise"]
    assert "target" not in reader.text.partition("Signals of the learner")[2].partition("Throughput")[0]


@pytest.mark.slow
def test_a_learner_that_logs_nothing_has_a_sentence(make_project):
    project = make_project()
    project.signals = {}
    reader = assert_sound(project.write(points=2, episodes=2, rows=5).page())
    assert "The algorithm logged no metrics of its updates." in reader.text


@pytest.mark.slow
def test_metrics_of_the_task_are_a_table_where_there_are_any(make_project, project):
    assert "Metric of the task" not in project.page()
    found = make_project()
    found.task_metrics = {
        "reward_ctrl": {"mean": -0.25, "last": -0.5},
        "is_success": {"mean": 0.5, "last": 1.0},
    }
    text = assert_sound(found.write(points=2, episodes=2, rows=3).page()).text
    assert "Metric of the task deterministic, mean deterministic, last stochastic, mean" in text
    assert "reward_ctrl \u22120.25 \u22120.5 \u22120.25 \u22120.5" in text
    assert "is_success 0.5 1" in text


def test_params_are_shown_to_the_last_value(project):
    text = Reader(project.page()).text.replace(" ", "")
    for value in (
        "temperature.target_entropy_per_dimension-1.0",
        "hidden_dims[256,256]",
        "options{}",
        "videonull",
    ):
        assert value in text


@pytest.mark.slow
def test_a_hostile_name_is_shown_and_never_run(make_project):
    name = "<script>alert(1)</script>\"'&" + "x" * 300
    project = make_project(task=name)
    project.params["task"]["options"] = {"</style><b onmouseover=x>": "</pre><img src=//x>"}
    project.params["algorithm"]["</svg>"] = "<svg onload=x>"
    project.params["release"]["model_name"] = "<h1>"
    project.signals = {"</svg><b onclick=x>$\\frac": project.signals["critic/loss"]}
    reason = {"rule": "<b>", "expected": "</li>", "found": "<i onclick=x>\x07", "ok": False}
    project.write(points=2, episodes=2, rows=3)
    page = project.page(reasons=[reason])
    reader = assert_sound(page)
    assert name in reader.text
    assert "expected </li> found <i onclick=x>\ufffd" in reader.text


@pytest.mark.slow
def test_refusal_shows_broken_rules_first(project):
    rules = [
        {"rule": "parity", "expected": "at most 0.0001", "found": "3.1e-07", "ok": True},
        {"rule": "minimum return", "expected": "9300", "found": "5801.25", "ok": False},
    ]
    text = assert_sound(project.page(reasons=rules)).text
    assert "Refused 1 of 2 rules of the release gate does not hold." in text
    broken = text.index("minimum return expected 9300 found 5801.25")
    assert broken < text.index("parity expected at most 0.0001 found 3.1e-07")


@pytest.mark.slow
def test_without_a_verdict_the_page_says_so(project):
    assert "Not evaluated" in assert_sound(project.page(reasons=None)).text


@pytest.mark.slow
def test_video_is_embedded_byte_for_byte(fresh):
    assert "No off-screen renderer works here: EGL and OSMesa failed." in Reader(fresh.page()).text
    video = bytes(range(256)) * 40
    write_bytes(fresh.workspace.evaluate / "video" / "episode.mp4", video)
    (source,) = assert_sound(fresh.page()).values("src")
    assert base64.b64decode(source.removeprefix("data:video/mp4;base64,")) == video


@pytest.mark.slow
def test_throughput_is_drawn_if_its_log_exists_and_explained_if_not(fresh):
    assert "Its log is on the machine that trained" in Reader(fresh.page()).text
    rows = [
        {"env_steps": 1000 * n, "elapsed_s": 9.0 * n, "steps_per_s": speed}
        for n, speed in ((1, 90), (2, 120), (3, 100))
    ]
    write_text(
        fresh.outputs.work_folder / "throughput.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
    )
    assert "The median, dotted, is 100 environment steps a second ." in assert_sound(fresh.page()).text


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, 1000.0, -1e99, 1e-9, 123456789.0])
def test_one_evaluation_with_one_constant_return_still_gives_a_page(make_project, value):
    project = make_project().write(points=1, episodes=1, rows=1)
    header = ["env_steps", "policy", "episode", "seed", "return", "length"]
    project.write_table(project.workspace.curve, header, [[0, "deterministic", 0, 0, value, 1]])
    write_text(project.workspace.train / "metrics.jsonl", "")
    summary = {policy: project.summarised([value]) for policy in ("deterministic", "stochastic", "bundle")}
    write_json(project.workspace.evaluate / "metrics.json", summary)
    text, shown = assert_sound(project.page()).text, numbers.number(value).replace("\u2009", " ")
    assert f"One deterministic evaluation, before training: {shown}." in text


@pytest.mark.slow
def test_a_very_long_training_gives_a_small_page(make_project):
    project = make_project().write(points=1500, episodes=2, total_steps=10_000_000, rows=20_000)
    page = project.page()
    reader = assert_sound(page)
    assert len(page) < 1_500_000
    assert "training episode, 600 of 20,000" in reader.text
    assert "10M" in reader.text


def with_loss(make_project, algorithm, unit=None):
    """Write a run whose algorithm logs `critic/loss` and `critic/0/loss`; return the signals of its page."""
    project = make_project()
    project.params["algorithm"] = {"name": algorithm, "discount": 0.99}
    project.signals = dict.fromkeys(("critic/loss", "critic/0/loss"), project.signals["critic/loss"])
    project.write(points=2, episodes=2, rows=5)
    if unit is not None:
        described = {name: {"unit": unit, "meaning": ""} for name in ("critic/loss", "critic/{i}/loss")}
        write_json(project.outputs.work_folder / "learner_metrics.json", described)
    return project.page().partition('id="signals"')[2].partition("<section")[0]


@pytest.mark.slow
def test_a_metric_of_another_package_has_neither_our_title_nor_our_unit(make_project):
    shown = with_loss(make_project, "their_package:Quantiles")
    assert "reward²" not in shown
    assert "Critic loss" not in shown


@pytest.mark.slow
def test_without_the_work_folder_a_metric_of_ours_has_our_unit(make_project):
    assert "reward²" in with_loss(make_project, "sac")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["sac", "their_package:Quantiles"])
def test_the_units_are_those_that_the_learner_named(make_project, algorithm):
    shown = with_loss(make_project, algorithm, "quantile loss")
    assert shown.count("quantile loss") >= 2
    assert "reward²" not in shown
