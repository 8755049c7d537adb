"""A page of unchanged inputs is left as it is, and costs next to nothing."""

import os
import subprocess
import sys

import pytest

from sacpipe.core.files import write_bytes, write_text

EDITS = {
    "params.yaml": "seed: 7",
    "results/curve.csv": "deterministic,0,0,",
    "out/train/metrics.jsonl": '"critic/loss": ',
    "out/evaluate/video/WHY_NO_VIDEO.txt": "EGL",
}
NOTHING_TO_DO = """
import sys
from pathlib import Path

from sacpipe.project.workspace import Workspace
from sacpipe.report.page import write_report

write_report(Workspace(Path(sys.argv[1])), None)
print(sorted({"torch", "jinja2", "matplotlib", "onnxruntime", "mlflow"} & sys.modules.keys()))
"""


def written(project):
    """Return when the page was written."""
    project.page()
    return (project.root / "report.html").stat().st_mtime_ns


@pytest.mark.slow
def test_a_page_of_the_same_inputs_is_not_written_again(fresh):
    first = written(fresh)
    assert written(fresh) == first


@pytest.mark.slow
@pytest.mark.parametrize("place", EDITS)
def test_every_input_makes_another_page(fresh, place):
    first, text = written(fresh), (fresh.root / place).read_text()
    assert EDITS[place] in text
    write_text(fresh.root / place, text.replace(EDITS[place], f"{EDITS[place]}1", 1))
    assert written(fresh) != first


@pytest.mark.slow
def test_a_log_of_the_speed_another_verdict_and_a_lost_page_make_another_page(fresh):
    first = written(fresh)
    write_text(fresh.outputs.work_folder / "throughput.jsonl", '{"env_steps": 1, "steps_per_s": 2.0}\n')
    second = written(fresh)
    fresh.page(None)
    third = (fresh.root / "report.html").stat().st_mtime_ns
    assert len({first, second, third}) == 3
    write_bytes(fresh.root / "report.html", b"")
    assert "Learning curve" in fresh.page()


@pytest.mark.slow
def test_nothing_to_do_needs_neither_templates_nor_plots_nor_pytorch(fresh):
    search_path = os.pathsep.join(path for path in sys.path if path)
    found = [
        subprocess.run(
            [sys.executable, "-c", NOTHING_TO_DO, str(fresh.root)],
            env=os.environ | {"PYTHONPATH": search_path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert "jinja2" in found[0]
    assert found[1] == "[]\n"
