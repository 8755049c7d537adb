"""The member that docs/extending.md shows passes its contract check, and has a params.yaml."""

import importlib
import json
import re
import sys

import pytest
from repository import ROOT
from small_project import small_params

from sacpipe.flow import orchestrator
from sacpipe.params.model import Params
from sacpipe.params.presets import preset_tree
from sacpipe.specs.budget import Budget
from sacpipe.testing.orchestrators import check_orchestrator
from sacpipe.testing.samplers import check_sampler

PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def sampler(tmp_path, monkeypatch):
    (source,) = [block for block in BLOCKS if block.startswith("# my_sampler.py")]
    (tmp_path / "my_sampler.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("my_sampler").Distinct
    del sys.modules["my_sampler"]


def test_the_shown_sampler_passes_its_contract_check(sampler):
    check_sampler(sampler.example())


def test_the_shown_sampler_is_a_section_of_params(sampler, tmp_path):
    tree = preset_tree(sampler, {"name": "my_sampler:Distinct"}, None, Budget(100))
    assert tree == {"name": "my_sampler:Distinct", "max_share": 0.5}
    (tmp_path / "params.yaml").write_text(small_params())
    params = Params.load(tmp_path / "params.yaml")
    replay = params.replay.as_tree() | {"sampler": tree}
    assert type(params.replace(replay=replay).replay.sampler) is sampler


def test_the_shown_orchestrator_passes_its_contract_check(tmp_path, monkeypatch):
    (source,) = [block for block in BLOCKS if block.startswith("# my_engine.py")]
    found = {}
    exec(compile(source, "my_engine.py", "exec"), found)  # noqa: S102 - the page's own text
    monkeypatch.setattr(orchestrator, "RETRY_DELAYS_S", (0.0, 0.0))
    check_orchestrator(found["Journal"], tmp_path)
    lines = (tmp_path / ".sacpipe" / "journal.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["step"] == "same name"


def test_every_table_of_members_is_in_the_page():
    for path in (ROOT / "sacpipe").rglob("*.py"):
        for name, group in re.findall(
            r'(?s)^([A-Z_]+) = Members\(\s*"[^"]+",\s*"([\w.]+)"', path.read_text(), re.M
        ):
            assert f"| `{name}` | `{group}` |" in PAGE, path


def test_every_contract_check_is_in_the_page_and_exists():
    for module, name in re.findall(r"`sacpipe\.testing\.(\w+)\.(check_\w+)`", PAGE):
        assert f"def {name}(" in (ROOT / "sacpipe" / "testing" / f"{module}.py").read_text()
