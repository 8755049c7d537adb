"""What the wheel holds: one package, and a new project's files as data."""

import subprocess
import sys
import zipfile

import pytest
from repository import ROOT

pytestmark = pytest.mark.slow

TEMPLATE = "sacpipe/project/template/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build it from what git tracks, so that nothing is left behind here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_has_one_top_level_package(wheel):
    tops = {name.partition("/")[0] for name in wheel}
    assert tops == {"sacpipe", next(top for top in tops if top.endswith(".dist-info"))}


def test_it_holds_every_module_and_data_file_of_the_package(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "sacpipe"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = {name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()}
    packaged = {name for name in wheel if name.startswith("sacpipe/") and not name.startswith(TEMPLATE)}
    assert packaged == expected


def test_it_holds_the_sources_of_the_kernels(wheel):
    sources = {path.name: path.read_bytes() for path in (ROOT / "sacpipe/kernels/csrc").iterdir()}
    folder = "sacpipe/kernels/csrc/"
    assert {
        name.removeprefix(folder): data for name, data in wheel.items() if name.startswith(folder)
    } == sources
    assert "rows.cpp" in sources


def test_the_template_is_this_repositorys_own_pipeline(wheel):
    template = {
        name.removeprefix(TEMPLATE): data for name, data in wheel.items() if name.startswith(TEMPLATE)
    }
    own = [*(ROOT / "pipelines").rglob("*.py"), ROOT / "dvc.yaml", ROOT / "params.yaml"]
    assert template == {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in own}


def test_the_console_script_is_the_command_line(wheel):
    (points,) = (data.decode() for name, data in wheel.items() if name.endswith("entry_points.txt"))
    assert "sacpipe = sacpipe.cli.main:main" in points
