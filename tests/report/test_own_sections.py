"""Sections of a project or of a package: found, shown, escaped; their errors are on the page."""

import re
import sys
from importlib.metadata import distributions

import pytest
from repository import ROOT

from sacpipe.core.errors import ConfigError
from sacpipe.rollout.registries import choose_registry

EXAMPLE = ROOT / "tests" / "example_package"
FAULTY = {
    "raises": "def build(outputs):\n    raise ValueError('<b>no</b>')\n",
    "ends": "import sys\n\n\ndef build(outputs):\n    sys.exit(0)\n",
    "unknown": "from sacpipe.report.section import Section\n\n\ndef build(outputs):\n    return Section('A', '{{ x }}', {})\n",
    "absent": "",
}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Return a function that writes a module of the project, which can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    known = set(sys.modules)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)

    yield write
    for name in set(sys.modules) - known:
        if name.startswith(("own_", "my_section", "sacpipe_example")):
            del sys.modules[name]


@pytest.mark.slow
def test_a_section_of_an_import_path_is_shown_with_its_chart_and_values(fresh, modules):
    fresh.workspace.settings.write_text("report:\n- sacpipe_example.report_section:build\n")
    page = fresh.page()
    assert "Steps of each evaluation episode of gymnasium/HalfCheetah-v5." in page
    assert '<a href="#own-0">Lengths</a>' in page
    assert page.index(">Params</h2>") < page.index(">Lengths</h2>")
    assert '<th scope="row">stochastic</th><td class=number>1000.0</td>' in page.replace("\n", "")


@pytest.mark.slow
def test_a_removed_section_is_gone_from_the_page(fresh, modules):
    fresh.workspace.settings.write_text("report:\n- sacpipe_example.report_section:build\n")
    assert ">Lengths</h2>" in fresh.page()
    fresh.workspace.settings.unlink()
    assert ">Lengths</h2>" not in fresh.page()


@pytest.mark.slow
def test_the_section_that_the_docs_show_is_on_the_page(fresh, modules):
    page = (ROOT / "docs" / "report.md").read_text()
    (source,) = re.findall(r"^```python\n(# my_section\.py.*?)^```", page, re.MULTILINE | re.DOTALL)
    (settings,) = re.findall(r"^```yaml\n(# sacpipe\.yaml.*?)^```", page, re.MULTILINE | re.DOTALL)
    modules("my_section", source)
    fresh.workspace.settings.write_text(settings)
    page = fresh.page()
    assert "Lengths of 8 training episodes of gymnasium/HalfCheetah-v5." in page
    assert "The lengths as a table" in page


@pytest.mark.slow
def test_a_section_of_an_installed_package_is_found_by_its_entry_point(fresh, modules, tmp_path, monkeypatch):
    info = tmp_path / "site" / "sacpipe_example-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sacpipe-example\nVersion: 1.0\n")
    points = "[sacpipe.report_sections]\nlengths = sacpipe_example.report_section:build\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(info.parent))
    assert "sacpipe-example" in {one.name for one in distributions()}
    assert ">Lengths</h2>" in fresh.page()


def test_a_file_of_sections_alone_chooses_the_default_tracker(fresh):
    fresh.workspace.settings.write_text("report:\n- my_section:build\n")
    assert choose_registry(fresh.workspace.settings, {}).name == "mlflow"
    fresh.workspace.settings.write_text("report: 5\n")
    with pytest.raises(ConfigError, match="report"):
        choose_registry(fresh.workspace.settings, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTY)
def test_the_error_of_a_section_is_on_the_page_and_in_a_line(fresh, modules, capsys, name):
    modules(f"own_{name}", FAULTY[name])
    fresh.workspace.settings.write_text(f"report:\n- own_{name}:build\n")
    page = fresh.page()
    assert "This section could not be made." in page
    assert "<b>no</b>" not in page
    assert f"section 'own_{name}:build'" in "".join(capsys.readouterr())
    assert "Learning curve" in page


@pytest.mark.slow
def test_what_a_section_says_is_escaped(fresh, modules):
    source = "from sacpipe.report.section import Section\n\n\ndef build(outputs):\n"
    modules("own_text", f"{source}    return Section('<i>', '<p>{{{{ x }}}}</p>', {{'x': '<script>'}})\n")
    fresh.workspace.settings.write_text("report: own_text:build\n")
    page = fresh.page()
    assert "<p>&lt;script&gt;</p>" in page
    assert ">&lt;i&gt;</h2>" in page


@pytest.mark.slow
def test_a_page_with_an_own_section_is_written_every_time(fresh, modules):
    modules("own_count", "from sacpipe.report.section import Section\n\nCALLS = []\n\n\ndef build(outputs):\n"
            "    CALLS.append(1)\n    return Section('Calls', '{{ n }} calls', {'n': len(CALLS)})\n")  # fmt: skip
    fresh.workspace.settings.write_text("report:\n- own_count:build\n")
    assert "1 calls" in fresh.page()
    assert "2 calls" in fresh.page()
